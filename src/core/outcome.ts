import type { RecordedError } from './recorded-error.ts';

/** What an attempt came to, as the executor reports it and the settler writes it. */
export type Outcome =
  | { readonly verb: 'complete'; readonly result: string | null }
  | { readonly verb: 'retry'; readonly delayMs: number; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'fail'; readonly error: RecordedError; readonly result: string | null }
  | { readonly verb: 'release' };

/** The largest result that is kept, as JSON in UTF-8; a larger one belongs in a store of its own. */
export const RESULT_MAX_BYTES = 262_144;

/** The verdict of `settle.sql` on one (task, attempt). */
export type SettleVerdict = 'settled' | 'already' | 'locked' | 'stale';

/** The verdict of `start.sql` on one claimed task that was not started. */
export type StartRefusal = 'early' | 'locked' | 'paused' | 'solo' | 'gone';
