import type { Logger } from 'pino';
import type { Metrics } from './metrics.ts';

/** Notes when a store stops and starts answering: one line each, however many calls fail in between. */
export interface Outage {
  failed(error: unknown): void;
  answered(): void;
  readonly ongoing: boolean;
}

export function createOutage(
  store: 'postgresql' | 'redis',
  log: Logger,
  metrics: Metrics,
  nowMs: () => number,
): Outage {
  let sinceMs: number | null = null;
  return {
    failed(error) {
      if (sinceMs !== null) return;
      sinceMs = nowMs();
      metrics.storeUp.set({ store }, 0);
      log.warn({ err: error, store }, 'store does not answer');
    },
    answered() {
      if (sinceMs !== null) log.info({ store, outageMs: Math.round(nowMs() - sinceMs) }, 'store answers again');
      sinceMs = null;
      metrics.storeUp.set({ store }, 1);
    },
    get ongoing() {
      return sinceMs !== null;
    },
  };
}
