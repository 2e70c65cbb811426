import { TIMER_MAX_MS } from '../config/timings.ts';
import type { Clock } from '../core/clock.ts';
import type { Attempt } from '../engine/attempts/attempt.ts';
import type { Slots } from '../engine/attempts/slots.ts';

/** Ends attempts whose time limit is over. One timer serves all of them, because most attempts end long before. */
export interface TimeLimits {
  /** Makes sure that the timer fires at the deadline of this attempt. */
  watch(attempt: Attempt): void;
}

/** @param onTime called once at the deadline of each running attempt that is not settled. It must settle the attempt */
export function createTimeLimits(
  slots: Pick<Slots, 'earliest'>,
  clock: Clock,
  onTime: (attempt: Attempt) => void,
): TimeLimits {
  let timer: NodeJS.Timeout | undefined;
  let firesAtMs = Number.POSITIVE_INFINITY;

  const arm = (deadlineMs: number): void => {
    clearTimeout(timer);
    firesAtMs = deadlineMs;
    const leftMs = Math.ceil(deadlineMs - clock.monotonicMs());
    // The connections keep the process alive, and an attempt that has ended leaves its timer behind.
    timer = setTimeout(look, Math.min(TIMER_MAX_MS, Math.max(1, leftMs))).unref();
  };

  const look = (): void => {
    firesAtMs = Number.POSITIVE_INFINITY;
    for (let next = slots.earliest(); next !== null; next = slots.earliest()) {
      if (next.deadlineMs > clock.monotonicMs()) return arm(next.deadlineMs);
      onTime(next);
    }
  };

  return {
    watch({ deadlineMs }) {
      if (deadlineMs < firesAtMs) arm(deadlineMs);
    },
  };
}
