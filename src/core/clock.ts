import { performance } from 'node:perf_hooks';

/** Time as the parts of the scheduler see it; tests give their own. */
export interface Clock {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Milliseconds that only grow; for differences, never for dates. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
