import { monotonicNowMs, type Pulse } from './pulse.ts';

/** How long ago the earliest deadline was, and how long the main loop has stood still. */
export interface Overrun {
  readonly overrunMs: number;
  readonly stalledMs: number;
}

export interface WatchdogOptions {
  readonly pulse: Pick<Pulse, 'tickMs' | 'deadlineMs'>;
  /** The watchdog kills the process when a deadline is over for this long, … */
  readonly overrunMs: number;
  /** … and the main loop has not ticked for this long. */
  readonly stalledMs: number;
  /** Called once. */
  readonly kill: (overrun: Overrun) => void;
  readonly nowMs?: () => number;
}

/**
 * Kills a process whose main loop stands still beyond a deadline. The watchdog counts the standstill from its own first
 * look that saw it. After a freeze of the whole process (SIGSTOP, a suspended machine) both threads wake up together, and
 * the main loop must get the chance to settle the attempt.
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
