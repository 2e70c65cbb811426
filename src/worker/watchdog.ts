import { monotonicNowMs, type Pulse } from './pulse.ts';

/** How long the earliest deadline is over, and for how long the main loop has stood still. */
export interface Overrun {
  readonly overrunMs: number;
  readonly stalledMs: number;
}

export interface WatchdogOptions {
  readonly pulse: Pick<Pulse, 'tickMs' | 'deadlineMs'>;
  /** How long a deadline may be over … */
  readonly overrunMs: number;
  /** … while the main loop has not turned for this long. */
  readonly stalledMs: number;
  /** Called once. */
  readonly kill: (overrun: Overrun) => void;
  readonly nowMs?: () => number;
}

/**
 * Ends a process whose main loop stands still beyond a deadline. The standstill
 * is counted from when this side first saw it: after a freeze of the whole
 * process (SIGSTOP, a suspended machine) both sides wake up together, and the
 * main loop must get its chance.
 */
export function createWatchdog(options: WatchdogOptions): { look(): void } {
  const { pulse, overrunMs, stalledMs, kill, nowMs = monotonicNowMs } = options;
  let lastTickMs = -1;
  let lastLookMs = nowMs();
  let standstillSinceMs = lastLookMs;
  let killed = false;

  return {
    look() {
      const now = nowMs();
      const frozen = now - lastLookMs > stalledMs;
      lastLookMs = now;
      const { tickMs, deadlineMs } = pulse;
      if (tickMs !== lastTickMs || frozen) {
        lastTickMs = tickMs;
        standstillSinceMs = now;
        return;
      }
      const stalled = now - standstillSinceMs;
      if (!killed && deadlineMs > 0 && now - deadlineMs >= overrunMs && stalled >= stalledMs) {
        killed = true;
        kill({ overrunMs: Math.round(now - deadlineMs), stalledMs: Math.round(stalled) });
      }
    },
  };
}
