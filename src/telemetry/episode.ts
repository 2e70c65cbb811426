import { OUTAGE_QUIET_MS } from '../config/timings.ts';

/** The length of an episode and its failures. */
export interface EpisodeEnd {
  /** Milliseconds from the first failure to the first success after the last failure. */
  readonly lastedMs: number;
  readonly failures: number;
}

export interface EpisodeOptions {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /**
   * A failure this many milliseconds after the previous one begins a new episode, even without a success in between.
   * By default it does not.
   */
  readonly forgottenAfterMs?: number;
  readonly onBegin: (error: unknown) => void;
  readonly onEnd: (end: EpisodeEnd) => void;
}

/**
 * Combines single failures into episodes. An episode begins with a failure. It ends when something has succeeded and
 * nothing has failed for a few seconds. So a fault that comes and goes causes two log lines, not many.
 */
export interface Episode {
  failed(error: unknown): void;
  succeeded(): void;
  /** Whether an episode is open and the latest call failed. */
  readonly ongoing: boolean;
  /** Whether an episode is open. */
  readonly open: boolean;
}

/** The state of an open episode. Times are monotonic milliseconds. */
interface Open {
  readonly sinceMs: number;
  failedMs: number;
  failures: number;
  /** The first success after the latest failure. */
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
