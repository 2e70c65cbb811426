import type { RecordedError } from './errors.ts';

/** What an attempt came to, as the executor reports it and the settler writes it. */
export type Outcome =
  | { readonly verb: 'complete'; readonly result: string | null }
  | { readonly verb: 'retry'; readonly delayMs: number; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'fail'; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'release' };

/** The verdict of `settle.sql` on one (task, attempt). */
export type SettleVerdict = 'settled' | 'already' | 'stale';

/** The verdict of `start.sql` on one claimed task that was not started. */
export type StartRefusal = 'early' | 'locked' | 'paused' | 'solo' | 'gone';
