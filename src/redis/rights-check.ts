import { redisAddressOf } from '../config/store-urls.ts';
import { RIGHTS_LOOK_INTERVAL_MS } from '../config/timings.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Keys } from './keys.ts';
import type { RedisClient, RedisSettings } from './redis-client.ts';
import { missingRights, type MissingRight } from './rights.ts';
import { evaluate } from './scripts.ts';

/**
 * Finds the rights that the Redis user lacks, and logs them in one line when they change. The check runs with each
 * connection, with each pass of the sweeper, and repeatedly while a right is missing, because rights can change at any
 * time.
 */
export interface RightsCheck {
  /** Asks Redis. Never rejects: other code reports a server that does not answer. */
  look(client: RedisClient): Promise<void>;
  /** Starts `look`, at the earliest 5 s after the previous one, and does not wait for it. */
  lookSoon(client: RedisClient): void;
  /** Describes the missing rights and the rule that grants them; null if none is known to be missing. */
  readonly missing: string | null;
}

export function createRightsCheck(
  settings: Pick<RedisSettings, 'REDIS_URL' | 'REDIS_CLUSTER'>,
  keys: Keys,
  log: Logger,
  nowMs: () => number = () => performance.now(),
): RightsCheck {
  const user = redisAddressOf(settings.REDIS_URL).username ?? 'default';
  let missing: string | null = null;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let next: NodeJS.Timeout | undefined;

  const conclude = (rights: readonly MissingRight[]): void => {
    const before = missing;
    missing = rights.length === 0 ? null : describe(user, rights);
    if (missing === before) return;
    if (missing === null) log.info({ user }, 'the Redis user has all the rights that it needs again');
    else log.error({ user, missing: rights.map(({ what }) => what), rule: ruleOf(user, rights) }, missing);
  };

  const look = async (client: RedisClient): Promise<void> => {
    lookedMs = nowMs();
    try {
      conclude(await missingRights(keys, settings.REDIS_CLUSTER, (script, args) => evaluate(client, script, [], args)));
    } catch (error) {
      const { message } = error as Error;
      // Without the right to run scripts, the other rights cannot be checked.
      if (/^NOPERM\b.*\beval/i.test(message)) conclude([{ what: 'EVAL and EVALSHA', rule: '+eval +evalsha' }]);
      else log.debug({ err: error }, 'Redis could not be asked what its user may do');
    }
  };

  const lookNext = (client: RedisClient): void => {
    next = undefined;
    void look(client);
  };

  return {
    look,
    lookSoon(client) {
      const waitMs = lookedMs + RIGHTS_LOOK_INTERVAL_MS - nowMs();
      if (waitMs <= 0) void look(client);
      // Otherwise a right that is revoked just after a look would stay unnoticed, since other calls still succeed.
      else next ??= setTimeout(lookNext, waitMs, client).unref();
    },
    get missing() {
      return missing;
    },
  };
}

function describe(user: string, rights: readonly MissingRight[]): string {
  const what = rights.map((right) => right.what).join(', ');
  const rule = ruleOf(user, rights);
  return `the Redis user "${user}" may not use ${what}${rule === null ? '' : `; allow it by: ${rule}`}`;
}

function ruleOf(user: string, rights: readonly MissingRight[]): string | null {
  const rules = [...new Set(rights.flatMap(({ rule }) => rule?.split(' ') ?? []))];
  return rules.length === 0 ? null : `ACL SETUSER ${user} ${rules.join(' ')}`;
}
