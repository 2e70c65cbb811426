import type { Logger } from 'pino';
import { OUTAGE_QUIET_MS } from '../config/timings.ts';
import type { Metrics } from './metrics.ts';

/**
 * Notes when a store stops and starts answering. One line when it begins, however many
 * calls fail, and one when no call has failed for a few seconds.
 */
export interface Outage {
  failed(error: unknown): void;
  answered(): void;
  /** Whether the latest call failed. */
  readonly ongoing: boolean;
}

/** What is known of an outage whose end has not been logged; times are monotonic milliseconds. */
interface OpenOutage {
  readonly sinceMs: number;
  failures: number;
  /** The first answer behind the latest failure. */
  answeredMs: number | null;
}

export function createOutage(
  store: 'postgresql' | 'redis',
  log: Logger,
  metrics: Metrics,
  nowMs: () => number,
): Outage {
  let open: OpenOutage | null = null;
  return {
    failed(error) {
      metrics.storeUp.set({ store }, 0);
      if (open === null) {
        open = { sinceMs: nowMs(), failures: 0, answeredMs: null };
        log.warn({ err: error, store }, 'store does not answer');
      }
      open.failures++;
      open.answeredMs = null;
    },
    answered() {
      metrics.storeUp.set({ store }, 1);
      if (open === null) return;
      open.answeredMs ??= nowMs();
      if (nowMs() - open.answeredMs < OUTAGE_QUIET_MS) return;
      const { sinceMs, answeredMs, failures } = open;
      log.info({ store, outageMs: Math.round(answeredMs - sinceMs), failures }, 'store answers again');
      open = null;
    },
    get ongoing() {
      return open !== null && open.answeredMs === null;
    },
  };
}
