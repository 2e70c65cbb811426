import { systemClock, type Clock } from '../core/clock.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { takeTokens, type BucketDecision, type BucketLimits, type BucketState } from '../core/token-bucket.ts';
import type { Keys } from './keys.ts';
import type { RedisConnection } from './redis.ts';
import { loadScript } from './scripts.ts';

export interface RateLimiter {
  readonly limits: BucketLimits;
  /**
   * Takes tokens from a subject's bucket. While Redis is away a bucket of this
   * process takes over. Never throws for an outage.
   * @param cost tokens; above the capacity a full bucket admits it and goes into debt; below zero they are given back
   * @param paid tokens that were taken before for the same request
   */
  take(subject: string, cost: number, paid?: number): Promise<BucketDecision>;
}

const RATE_LIMIT = loadScript('rate-limit');

/** Buckets that this process keeps while Redis is away; the least recently used go first. */
const LOCAL_BUCKETS_MAX = 10_000;

export function createRateLimiter(
  redis: RedisConnection,
  keys: Keys,
  limits: BucketLimits,
  clock: Clock = systemClock,
): RateLimiter {
  const local = new Map<string, BucketState>();

  const takeLocally = (subject: string, cost: number, paid: number): BucketDecision => {
    const { state, decision } = takeTokens(limits, local.get(subject), clock.monotonicMs(), cost, paid);
    local.delete(subject);
    local.set(subject, state);
    if (local.size > LOCAL_BUCKETS_MAX) local.delete(local.keys().next().value as string);
    return decision;
  };

  return {
    limits,
    async take(subject, cost, paid = 0) {
      try {
        const args = [limits.capacity, limits.refillPerSecond, cost, paid];
        const reply = (await redis.script(RATE_LIMIT, [keys.rateLimit(subject)], args)) as [
          number,
          string,
          string,
          string,
        ];
        local.delete(subject);
        return {
          admitted: reply[0] === 1,
          remaining: Math.max(0, Math.floor(Number(reply[1]))),
          retryAfterSeconds: Number(reply[2]),
          resetSeconds: Number(reply[3]),
        };
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
        return takeLocally(subject, cost, paid);
      }
    },
  };
}
