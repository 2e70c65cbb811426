import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';
import { rateLimitSubject } from '../server/client-address.ts';
import type { Bucket, RateLimiter } from './rate-limiter.ts';
import type { BucketDecision, BucketLimits } from './token-bucket.ts';

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

/** @param ofAddress the limits of an address, for clients without limits of their own; null is no limit */
export function createAdmission(limiter: RateLimiter, ofAddress: BucketLimits | null, metrics: Metrics): Admission {
  const take = async (info: RequestInfo, cost: number, paid: number): Promise<void> => {
    const bucket = bucketOf(info, ofAddress);
    if (bucket === null) return;
    const decision = await limiter.take(bucket, cost, paid);
    showLimit(info, bucket.limits.capacity, decision);
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

/** A client with a rate of its own has one bucket, wherever it sends from. Its name cannot be an address. */
function bucketOf({ client, clientAddress }: RequestInfo, ofAddress: BucketLimits | null): Bucket | null {
  const { ratePerMinute, burst } = client.limits;
  if (ratePerMinute !== null) {
    const limits = { capacity: burst ?? ratePerMinute, refillPerSecond: ratePerMinute / 60 };
    return { subject: `client:${client.name}`, limits };
  }
  return ofAddress === null ? null : { subject: rateLimitSubject(clientAddress), limits: ofAddress };
}

/** The `RateLimit-*` fields of draft-ietf-httpapi-ratelimit-headers-06, in tokens and seconds. */
function showLimit(info: RequestInfo, capacity: number, { remaining, resetSeconds }: BucketDecision): void {
  info.setHeader('RateLimit-Limit', String(capacity));
  info.setHeader('RateLimit-Remaining', String(remaining));
  info.setHeader('RateLimit-Reset', String(Math.ceil(resetSeconds)));
}
