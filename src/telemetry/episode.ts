import { OUTAGE_QUIET_MS } from '../config/timings.ts';

/** How an episode went. */
export interface EpisodeEnd {
  /** Milliseconds from its first failure to the first success behind its last one. */
  readonly lastedMs: number;
  readonly failures: number;
}

export interface EpisodeOptions {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Milliseconds after which a failure begins a new episode, though nothing has succeeded since the last one; by default none does. */
  readonly forgottenAfterMs?: number;
  readonly onBegin: (error: unknown) => void;
  readonly onEnd: (end: EpisodeEnd) => void;
}

/**
 * Turns single failures into episodes: one begins with a failure, and ends when nothing has failed for
 * a few seconds and something has succeeded. So a fault that comes and goes has one pair of log lines, not many.
 */
export interface Episode {
  failed(error: unknown): void;
  succeeded(): void;
  /** Whether an episode is open whose latest call failed. */
  readonly ongoing: boolean;
  /** Whether an episode is open. */
  readonly open: boolean;
}

/** What is known of an episode that has not ended; times are monotonic milliseconds. */
interface Open {
  readonly sinceMs: number;
  failedMs: number;
  failures: number;
  /** The first success behind the latest failure. */
  succeededMs: number | null;
}

export function createEpisode(options: EpisodeOptions): Episode {
  const { nowMs, forgottenAfterMs = Number.POSITIVE_INFINITY, onBegin, onEnd } = options;
  let open: Open | null = null;
  return {
    failed(error) {
      const now = nowMs();
      if (open === null || now - open.failedMs > forgottenAfterMs) {
        open = { sinceMs: now, failedMs: now, failures: 0, succeededMs: null };
        onBegin(error);
      }
      open.failedMs = now;
      open.failures++;
      open.succeededMs = null;
    },
    succeeded() {
      if (open === null) return;
      open.succeededMs ??= nowMs();
      if (nowMs() - open.succeededMs < OUTAGE_QUIET_MS) return;
      const { sinceMs, succeededMs, failures } = open;
      open = null;
      onEnd({ lastedMs: Math.round(succeededMs - sinceMs), failures });
    },
    get ongoing() {
      return open !== null && open.succeededMs === null;
    },
    get open() {
      return open !== null;
    },
  };
}
