import type { RedisConnection } from '../../redis/redis.ts';

/** Whether this process should get requests: `starting` at first, `draining` after the signal to stop. */
export type Readiness = 'starting' | 'ready' | 'draining';

/** Holds the readiness of the process. */
export interface ReadinessSwitch {
  now(): Readiness;
  /** Reasons why the process is not ready, and problems that it has although it is ready; texts for people. */
  problems(): string[];
  /** Notes that PostgreSQL has answered. */
  ready(): void;
  /** Notes that the signal to stop has come. This cannot be undone. */
  drain(): void;
}

/**
 * A process becomes ready when PostgreSQL has answered, unless Redis refuses the process: during a rollout, pods with a
 * wrong login or without rights must not replace working pods. A Redis that is only unreachable does not prevent
 * readiness. A ready process stays ready until it stops; otherwise one outage would take all replicas out of service.
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
