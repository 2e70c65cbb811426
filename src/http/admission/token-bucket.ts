export interface BucketLimits {
  /** Tokens that a full bucket holds, ≥ 1. */
  readonly capacity: number;
  /** Tokens that flow back per second, > 0. */
  readonly refillPerSecond: number;
}

export interface BucketState {
  /** May be below zero: the debt of an admitted batch larger than the bucket. */
  readonly tokens: number;
  readonly atMs: number;
}

export interface BucketDecision {
  readonly admitted: boolean;
  /** Whole tokens left, ≥ 0. */
  readonly remaining: number;
  /** Seconds until the same request could be admitted; 0 if it was. */
  readonly retryAfterSeconds: number;
  /** Seconds until the bucket is full. */
  readonly resetSeconds: number;
}

/**
 * Token bucket with smooth refill. A cost above the capacity is admitted by a
 * full bucket and leaves a debt. `paid` tokens, taken earlier for the same
 * request, count as still there when it is admitted, and stay spent when it is
 * not. A negative cost gives tokens back. `rate-limit.lua` is the same in Redis; this one serves while Redis is away.
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
      // Without the paid tokens: they stay spent, and the repetition pays its own.
      retryAfterSeconds: admitted ? 0 : (needed - before) / refillPerSecond,
      resetSeconds: (capacity - tokens) / refillPerSecond,
    },
  };
}
