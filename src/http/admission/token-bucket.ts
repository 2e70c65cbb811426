export interface BucketLimits {
  /** Tokens in a full bucket, ≥ 1. */
  readonly capacity: number;
  /** Tokens that are refilled per second, > 0. */
  readonly refillPerSecond: number;
}

export interface BucketState {
  /** Below zero, it is the debt of an admitted batch that was larger than the bucket. */
  readonly tokens: number;
  readonly atMs: number;
}

export interface BucketDecision {
  readonly admitted: boolean;
  /** Whole tokens left, ≥ 0. */
  readonly remaining: number;
  /** Seconds until the same request could be admitted; 0 if it was admitted. */
  readonly retryAfterSeconds: number;
  /** Seconds until the bucket is full. */
  readonly resetSeconds: number;
}

/**
 * Token bucket with smooth refill. A full bucket admits a cost above its capacity and goes into debt. `paid` tokens
 * were taken earlier for the same request: they reduce the cost if the request is admitted, and stay spent if it is
 * not. A negative cost gives tokens back. `rate-limit.lua` does the same in Redis; this function is used while Redis is
 * away.
 */
export function takeTokens(
  limits: BucketLimits,
  state: BucketState | undefined,
  nowMs: number,
  cost: number,
  paid = 0,
): { state: BucketState; decision: BucketDecision } {
  const { capacity, refillPerSecond } = limits;
  const elapsedMs = state === undefined ? 0 : Math.max(0, nowMs - state.atMs);
  const before = Math.min(capacity, (state?.tokens ?? capacity) + (elapsedMs * refillPerSecond) / 1000);
  const needed = Math.min(cost, capacity);
  const available = before + paid;
  const admitted = cost <= 0 || available >= needed;
  const tokens = admitted ? Math.min(capacity, available - cost) : before;
  return {
    state: { tokens, atMs: nowMs },
    decision: {
      admitted,
      remaining: Math.max(0, Math.floor(tokens)),
      // The paid tokens do not count here: they stay spent, and the repeated request pays its own.
      retryAfterSeconds: admitted ? 0 : (needed - before) / refillPerSecond,
      resetSeconds: (capacity - tokens) / refillPerSecond,
    },
  };
}
