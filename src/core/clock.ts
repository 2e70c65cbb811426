import { performance } from 'node:perf_hooks';

/** The source of time for all parts of the scheduler. Tests pass their own. */
export interface Clock {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Milliseconds of a clock that never goes back. Use it for differences, never for dates. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
