import type { Logger } from '../telemetry/logger.ts';
import type { RedisClient } from './redis-client.ts';

/** Checks the settings of a Redis. Runs with every connection, since after a failover the server may be set up differently. */
export type ServerCheck = (client: RedisClient) => Promise<void>;

const OLDEST_MAJOR = 7;

/**
 * Warns of a Redis that is too old, or that may delete keys when its memory is full. Tasks whose entries are deleted wait
 * until reconcile enters them again, and no other log line would explain the delay. Each problem is logged once.
 */
export function createServerCheck(log: Logger): ServerCheck {
  const warned = new Set<string>();
  return async (client) => {
    let info: string;
    try {
      info = await client.info();
    } catch (error) {
      // The user may not be allowed to run INFO. Other code reports a server that does not answer.
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

/** @param info the reply to INFO: one line `name:value` per figure */
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
