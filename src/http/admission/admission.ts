import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';
import { rateLimitSubject } from '../server/client-address.ts';
import type { RateLimiter } from './rate-limiter.ts';
import type { BucketDecision } from './token-bucket.ts';

/**
 * Charges submissions to the rate limit of their client. `arrive` and `charge` may throw the `Problem` `rate_limited`.
 */
export interface Admission {
  /** Takes the one token that every request costs, before its body is read. */
  arrive(info: RequestInfo): Promise<void>;
  /** Takes one token for each valid task, less the token that was taken on arrival. */
  charge(info: RequestInfo, tasks: number): Promise<void>;
  /** Gives back the tokens of tasks that were charged but not created. A request costs at least one token. */
  refund(info: RequestInfo, tasks: number, created: number): Promise<void>;
}

/** @param limiter null switches the limit off */
export function createAdmission(limiter: RateLimiter | null, metrics: Metrics): Admission {
  if (limiter === null) return { arrive: async () => {}, charge: async () => {}, refund: async () => {} };

  const take = async (info: RequestInfo, cost: number, paid: number): Promise<void> => {
    const decision = await limiter.take(rateLimitSubject(info.clientAddress), cost, paid);
    showLimit(info, limiter.limits.capacity, decision);
    if (decision.admitted) return;
    metrics.rateLimited.inc();
    const seconds = Math.max(1, Math.ceil(decision.retryAfterSeconds));
    const what = cost === 1 ? 'the rate limit is used up' : `the rate limit does not allow ${cost} tasks now`;
    throw new Problem('rate_limited', `${what}; try again in ${seconds} s`, {
      headers: { 'Retry-After': String(seconds) },
    });
  };

  return {
    arrive: (info) => take(info, 1, 0),
    async charge(info, tasks) {
      if (tasks > 1) await take(info, tasks, 1);
    },
    async refund(info, tasks, created) {
      const back = tasks - Math.max(1, created);
      if (back > 0) await take(info, -back, 0);
    },
  };
}

/** The `RateLimit-*` fields of draft-ietf-httpapi-ratelimit-headers-06, in tokens and seconds. */
function showLimit(info: RequestInfo, capacity: number, { remaining, resetSeconds }: BucketDecision): void {
  info.setHeader('RateLimit-Limit', String(capacity));
  info.setHeader('RateLimit-Remaining', String(remaining));
  info.setHeader('RateLimit-Reset', String(Math.ceil(resetSeconds)));
}
