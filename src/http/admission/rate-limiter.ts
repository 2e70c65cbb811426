import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { takeTokens, type BucketDecision, type BucketLimits, type BucketState } from './token-bucket.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';

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

const RATE_LIMIT = loadScript(import.meta.dirname, 'rate-limit');

/** Buckets that this process keeps while Redis is away; the least recently used go first. */
const LOCAL_BUCKETS_MAX = 10_000;

/** Requests of one call, so that a script call stays in the low milliseconds. */
const TOGETHER_MAX = 500;

/** A request that waits for its decision. */
interface Waiting {
  readonly cost: number;
  readonly paid: number;
  readonly resolve: (decision: BucketDecision) => void;
  readonly reject: (error: unknown) => void;
}

export function createRateLimiter(
  redis: RedisConnection,
  keys: Keys,
  limits: BucketLimits,
  clock: Clock = systemClock,
): RateLimiter {
  const local = new Map<string, BucketState>();
  /** What arrived in this turn of the event loop, by subject: one call decides on all of a subject's requests, in their order. */
  let arrived = new Map<string, Waiting[]>();

  const takeLocally = (subject: string, { cost, paid }: Waiting): BucketDecision => {
    const { state, decision } = takeTokens(limits, local.get(subject), clock.monotonicMs(), cost, paid);
    local.delete(subject);
    local.set(subject, state);
    if (local.size > LOCAL_BUCKETS_MAX) local.delete(local.keys().next().value as string);
    return decision;
  };

  const decide = async (subject: string, together: readonly Waiting[]): Promise<void> => {
    try {
      const args = [limits.capacity, limits.refillPerSecond, ...together.flatMap(({ cost, paid }) => [cost, paid])];
      const reply = (await redis.script(RATE_LIMIT, [keys.rateLimit(subject)], args)) as (number | string)[];
      local.delete(subject);
      together.forEach(({ resolve }, i) => resolve(decisionAt(reply, i * 4)));
    } catch (error) {
      if (error instanceof StoreUnavailableError) for (const one of together) one.resolve(takeLocally(subject, one));
      else for (const { reject } of together) reject(error);
    }
  };

  const flush = (): void => {
    const batch = arrived;
    arrived = new Map();
    for (const [subject, waiting] of batch) {
      for (let i = 0; i < waiting.length; i += TOGETHER_MAX) void decide(subject, waiting.slice(i, i + TOGETHER_MAX));
    }
  };

  return {
    limits,
    take(subject, cost, paid = 0) {
      const { promise, resolve, reject } = Promise.withResolvers<BucketDecision>();
      // The other requests that were read in this turn come along.
      if (arrived.size === 0) setImmediate(flush);
      const waiting = arrived.get(subject) ?? [];
      waiting.push({ cost, paid, resolve, reject });
      arrived.set(subject, waiting);
      return promise;
    },
  };
}

function decisionAt(reply: readonly (number | string)[], at: number): BucketDecision {
  return {
    admitted: reply[at] === 1,
    remaining: Math.max(0, Math.floor(Number(reply[at + 1]))),
    retryAfterSeconds: Number(reply[at + 2]),
    resetSeconds: Number(reply[at + 3]),
  };
}
