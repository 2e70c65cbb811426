import type { RedisConnection } from '../redis/redis.ts';

/** Whether this process shall get requests: `starting` at first, `draining` from the signal to stop. */
export type Readiness = 'starting' | 'ready' | 'draining';

/** Where the process stands between its start and its end. */
export interface ReadinessSwitch {
  now(): Readiness;
  /** What keeps it from being ready, or is wrong although it is; for people. */
  problems(): string[];
  /** PostgreSQL has answered. */
  ready(): void;
  /** The signal to stop has come; there is no way back. */
  drain(): void;
}

/**
 * A process becomes ready when PostgreSQL has answered, unless Redis refuses it: pods with a wrong login, or without
 * rights, must not take the place of those that work. Once it is ready it stays so, for all would leave at once. A Redis
 * that is only away keeps nobody from it.
 */
export function createReadiness(redis: Pick<RedisConnection, 'problem' | 'isRefused'>): ReadinessSwitch {
  let state: Readiness = 'starting';
  let hasDatabase = false;
  const now = (): Readiness => {
    if (state === 'starting' && hasDatabase && !redis.isRefused()) state = 'ready';
    return state;
  };
  return {
    now,
    problems() {
      const problem = redis.problem();
      return [
        ...(hasDatabase ? [] : ['postgresql: it has not answered yet']),
        ...(problem === null ? [] : [`redis: ${problem}`]),
      ];
    },
    ready() {
      hasDatabase = true;
      now();
    },
    drain() {
      state = 'draining';
    },
  };
}
