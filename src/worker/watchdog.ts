import { monotonicNowMs, type Pulse } from './pulse.ts';

export interface WatchdogOptions {
  readonly pulse: Pick<Pulse, 'tickMs' | 'deadlineMs'>;
  /** How long a deadline may be over … */
  readonly overrunMs: number;
  /** … while the main loop has not turned for this long. */
  readonly stalledMs: number;
  readonly kill: (overrun: { readonly overrunMs: number; readonly stalledMs: number }) => void;
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
      if (deadlineMs > 0 && now - deadlineMs >= overrunMs && stalled >= stalledMs) {
        kill({ overrunMs: Math.round(now - deadlineMs), stalledMs: Math.round(stalled) });
      }
    },
  };
}
