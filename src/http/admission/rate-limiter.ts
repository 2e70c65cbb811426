import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';
import { takeTokens, type BucketDecision, type BucketLimits, type BucketState } from './token-bucket.ts';

/** Who is counted, and how. A subject has the same limits in all processes, unless they are being changed. */
export interface Bucket {
  readonly subject: string;
  readonly limits: BucketLimits;
}

export interface RateLimiter {
  /**
   * Takes tokens from a bucket. While Redis is away, a local bucket of this process is used, so an outage causes no
   * error.
   * @param cost number of tokens. A full bucket admits a cost above its capacity and goes into debt. A negative cost
   * gives tokens back.
   * @param paid tokens that were already taken for the same request
   */
  take(bucket: Bucket, cost: number, paid?: number): Promise<BucketDecision>;
}

const RATE_LIMIT = loadScript(import.meta.dirname, 'rate-limit');

/** Number of buckets that this process keeps while Redis is away. The least recently used are dropped first. */
const LOCAL_BUCKETS_MAX = 10_000;

/** Most requests of one script call, which keeps a call within a few milliseconds. */
const TOGETHER_MAX = 500;

/** A request that waits for its decision. */
interface Waiting {
  readonly limits: BucketLimits;
  readonly cost: number;
  readonly paid: number;
  readonly resolve: (decision: BucketDecision) => void;
  readonly reject: (error: unknown) => void;
}

export function createRateLimiter(redis: RedisConnection, keys: Keys, clock: Clock = systemClock): RateLimiter {
  const local = new Map<string, BucketState>();
  /**
   * The requests that arrived in this turn of the event loop, by subject. One script call decides on all requests of a
   * subject in their order.
   */
  let arrived = new Map<string, Waiting[]>();

  const takeLocally = (subject: string, { limits, cost, paid }: Waiting): BucketDecision => {
    const { state, decision } = takeTokens(limits, local.get(subject), clock.monotonicMs(), cost, paid);
    local.delete(subject);
    local.set(subject, state);
    if (local.size > LOCAL_BUCKETS_MAX) local.delete(local.keys().next().value as string);
    return decision;
  };

  const decide = async (subject: string, together: readonly Waiting[]): Promise<void> => {
    // The limits may change between two requests. The latest ones count.
    const { capacity, refillPerSecond } = (together.at(-1) as Waiting).limits;
    try {
      const args = [capacity, refillPerSecond, ...together.flatMap(({ cost, paid }) => [cost, paid])];
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
    take({ subject, limits }, cost, paid = 0) {
      const { promise, resolve, reject } = Promise.withResolvers<BucketDecision>();
      // The call is delayed to the end of this turn, so that it includes all requests read in this turn.
      if (arrived.size === 0) setImmediate(flush);
      const waiting = arrived.get(subject) ?? [];
      waiting.push({ limits, cost, paid, resolve, reject });
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
