import type { RecordedError } from './recorded-error.ts';

/** The outcome of an attempt. The executor reports it and the settler writes it. */
export type Outcome =
  | { readonly verb: 'complete'; readonly result: string | null }
  | { readonly verb: 'retry'; readonly delayMs: number; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'fail'; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'release' };

/** Bytes of the largest result that is kept, as JSON in UTF-8. Larger results belong in another store. */
export const RESULT_MAX_BYTES = 262_144;

/** The verdict of `settle.sql` on one (task, attempt). */
export type SettleVerdict = 'settled' | 'already' | 'locked' | 'stale';

/** The verdict of `start.sql` on one claimed task that was not started. */
export type StartRefusal = 'early' | 'locked' | 'paused' | 'solo' | 'gone';
