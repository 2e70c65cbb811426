import type { Logger } from 'pino';
import { createEpisode } from './episode.ts';
import type { Metrics } from './metrics.ts';

/**
 * Logs when a store stops and starts answering: one line when the outage begins, however
 * many calls fail, and one line when no call has failed for a few seconds.
 */
export interface Outage {
  failed(error: unknown): void;
  answered(): void;
  /** Whether the latest call failed. */
  readonly ongoing: boolean;
}

export function createOutage(
  store: 'postgresql' | 'redis',
  log: Logger,
  metrics: Metrics,
  nowMs: () => number,
): Outage {
  const episode = createEpisode({
    nowMs,
    onBegin: (err) => log.warn({ err, store }, 'store does not answer'),
    onEnd: ({ lastedMs, failures }) => log.info({ store, outageMs: lastedMs, failures }, 'store answers again'),
  });
  return {
    failed(error) {
      metrics.storeUp.set({ store }, 0);
      episode.failed(error);
    },
    answered() {
      metrics.storeUp.set({ store }, 1);
      episode.succeeded();
    },
    get ongoing() {
      return episode.ongoing;
    },
  };
}
