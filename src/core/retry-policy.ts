/** When a failed task is tried again: `min(max, base × factor^(failures − 1))`, less up to `jitter` of it. */
export interface BackoffPolicy {
  /** Delay before the first retry, in milliseconds. */
  readonly baseMs: number;
  /** Growth from one retry to the next, ≥ 1. */
  readonly factor: number;
  /** Upper bound of the delay, in milliseconds. */
  readonly maxMs: number;
  /** Share of the delay, 0..1, that chance may take away. */
  readonly jitter: number;
}

/** 2 s → 4 s → 8 s. */
export const DEFAULT_BACKOFF: BackoffPolicy = { baseMs: 2_000, factor: 2, maxMs: 3_600_000, jitter: 0 };
export const DEFAULT_MAX_RETRIES = 3;

/**
 * Milliseconds to wait before the next attempt.
 * @param failures failures so far, the one being handled included (≥ 1)
 * @param random a number in [0, 1)
 */
export function retryDelayMs(policy: BackoffPolicy, failures: number, random: () => number): number {
  // Nothing grows from nothing; and 0 × ∞, once the power overflows, would be no number.
  if (policy.baseMs === 0) return 0;
  const exponent = Math.max(0, failures - 1);
  const full = Math.min(policy.maxMs, policy.baseMs * policy.factor ** exponent);
  return Math.round(full * (1 - policy.jitter * random()));
}

/** Whether a task with this many failures, the present one included, has retries left. */
export function hasRetriesLeft(failures: number, maxRetries: number): boolean {
  return failures <= maxRetries;
}
