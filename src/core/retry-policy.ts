/** Delay before a retry: `min(max, base × factor^(failures − 1))`, less a random share of it, up to `jitter`. */
export interface BackoffPolicy {
  /** Delay before the first retry, in milliseconds. */
  readonly baseMs: number;
  /** Growth from one retry to the next, ≥ 1. */
  readonly factor: number;
  /** Upper bound of the delay, in milliseconds. */
  readonly maxMs: number;
  /** Largest share of the delay, 0..1, that is taken away at random. */
  readonly jitter: number;
}

/** 2 s → 4 s → 8 s. */
export const DEFAULT_BACKOFF: BackoffPolicy = { baseMs: 2_000, factor: 2, maxMs: 3_600_000, jitter: 0 };
export const DEFAULT_MAX_RETRIES = 3;

/**
 * Returns the milliseconds to wait before the next attempt.
 * @param failures failures so far, including the current one (≥ 1)
 * @param random returns a number in [0, 1)
 */
export function retryDelayMs(policy: BackoffPolicy, failures: number, random: () => number): number {
  // Once the power overflows, 0 × ∞ would be NaN.
  if (policy.baseMs === 0) return 0;
  const exponent = Math.max(0, failures - 1);
  const full = Math.min(policy.maxMs, policy.baseMs * policy.factor ** exponent);
  return Math.round(full * (1 - policy.jitter * random()));
}

/** Returns whether a task with this many failures, including the current one, has retries left. */
export function hasRetriesLeft(failures: number, maxRetries: number): boolean {
  return failures <= maxRetries;
}
