import type { Position } from '../../core/priority.ts';
import type { MemberSet } from './reconcile/reconcile-queue.ts';
import type { DutyName } from './duty.ts';
import type { RangePlace, RunningPlace } from './reconcile/reconcile-store.ts';

/** Where the long duties stand between two passes, whoever runs them. Kept as JSON in the row `sweeper`. */
export interface Cursors {
  /** A range of the watermark that one pass was too short for. */
  range?: RangePlace & { readonly toRunAt: string };
  rebuild?: RebuildCursor;
  scan?: ScanCursor;
  prune?: PruneCursor;
  /** Of duties that come from features, by the duty's name. */
  places?: Record<DutyName, unknown>;
  /** When duties that have an interval last ended or failed: milliseconds since 1970 by PostgreSQL's clock. */
  rested?: Partial<Record<DutyName, number>>;
}

/** First the running tasks, then the waiting ones in their order. */
export type RebuildCursor =
  | { readonly nonce: string; readonly phase: 'running'; readonly after: RunningPlace }
  | { readonly nonce: string; readonly phase: 'waiting'; readonly after: Position | null };

export interface ScanCursor {
  readonly waiting?: RangePlace;
  readonly running?: RunningPlace;
  readonly members?: MembersPlace;
}

/** Null before the first set of the first queue. */
export type MembersPlace = { readonly queue: string; readonly set: MemberSet; readonly cursor: string } | null;

export type PruneCursor =
  | { readonly phase: 'days'; readonly day: string; readonly after: string }
  | { readonly phase: 'rows'; readonly after: string };

/** The JSON is this code's own; one that another version wrote in another form only costs a new start of its duty. */
export function cursorsOf(json: string): Cursors {
  return { ...(JSON.parse(json) as Cursors) };
}
