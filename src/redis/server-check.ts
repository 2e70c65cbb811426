import type { Logger } from '../telemetry/logger.ts';
import type { RedisClient } from './redis-client.ts';

/** Looks at the settings of a Redis; called with every connection, since a failover may lead to a server that is set otherwise. */
export type ServerCheck = (client: RedisClient) => Promise<void>;

const OLDEST_MAJOR = 7;

/**
 * Warns of a Redis that is too old, or that may delete keys when its memory is
 * full: tasks whose entries are gone wait until reconcile enters them again, and
 * nobody else would say why. Once for each thing that is wrong.
 */
export function createServerCheck(log: Logger): ServerCheck {
  const warned = new Set<string>();
  return async (client) => {
    let info: string;
    try {
      info = await client.info();
    } catch (error) {
      // A user may not be allowed to ask; and a server that does not answer is noticed elsewhere.
      log.debug({ err: error }, 'the settings of Redis could not be read');
      return;
    }
    for (const problem of problemsOf(info)) {
      if (warned.has(problem)) continue;
      warned.add(problem);
      log.warn({ problem }, 'Redis is not set up as it should be');
    }
  };
}

/** @param info what INFO answers: a line `name:value` for each figure */
export function problemsOf(info: string): string[] {
  const value = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const problems: string[] = [];
  const version = value('redis_version');
  if (Number.parseInt(version, 10) < OLDEST_MAJOR)
    problems.push(`expected Redis ${OLDEST_MAJOR} or newer, given ${version}`);
  const policy = value('maxmemory_policy');
  if (policy !== 'noeviction' && policy !== '' && Number(value('maxmemory')) > 0)
    problems.push(
      `expected maxmemory-policy noeviction, given ${policy}: tasks may vanish from their queue for a while`,
    );
  return problems;
}
