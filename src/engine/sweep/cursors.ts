import type { Position } from '../../core/priority.ts';
import type { MemberSet } from './reconcile/reconcile-queue.ts';
import type { RangePlace, RunningPlace } from './reconcile/reconcile-store.ts';
import type { DutyName } from './sweep-result.ts';

/**
 * The places where long duties go on in the next pass, whichever process runs it. Stored as JSON in the row
 * `sweeper`.
 */
export interface Cursors {
  /** A range of the watermark that the last pass did not finish. */
  range?: RangePlace & { readonly toRunAt: string };
  rebuild?: RebuildCursor;
  scan?: ScanCursor;
  prune?: PruneCursor;
  /** Places of duties that features add, by the duty's name. */
  places?: Record<DutyName, unknown>;
  /** When each duty that has an interval last ended or failed: milliseconds since 1970 by PostgreSQL's clock. */
  rested?: Partial<Record<DutyName, number>>;
}

/** A rebuild enters the running tasks first, then the waiting tasks in their order. */
export type RebuildCursor = {
  readonly nonce: string;
  /** Tasks that it has entered so far. */
  readonly tasks: number;
} & (
  | { readonly phase: 'running'; readonly after: RunningPlace }
  | { readonly phase: 'waiting'; readonly after: Position | null }
);

export interface ScanCursor {
  readonly waiting?: RangePlace;
  readonly running?: RunningPlace;
  readonly members?: MembersPlace;
}

/** A place in the members of all queues; null at the start of a round. */
export type MembersPlace = { readonly queue: string; readonly set: MemberSet; readonly cursor: string } | null;

/** `<day>+` sorts after the day itself and before the next day. */
export type PruneCursor =
  /** Looks at the first past day from `day` on. */
  | { readonly phase: 'days'; readonly day: string }
  /** Deletes old tasks of a day one by one. */
  | {
      readonly phase: 'rows';
      readonly day: string;
      readonly after: string;
      /** How many tasks must stay, as far as it has come. */
      readonly held: number;
      /** Whether the day is to be dropped as soon as a lock can be taken. Then it is left alone after one pass. */
      readonly brief: boolean;
    };

/** Parses cursors that this code wrote. If another version wrote another form, the duty only has to start anew. */
export function cursorsOf(json: string): Cursors {
  const { range, rebuild, scan, prune, places, rested } = JSON.parse(json) as Cursors;
  // Only what this version knows: another version's cursor would be carried along for ever.
  return definedOf({ range, rebuild, scan, prune, places, rested });
}

function definedOf(cursors: { [Name in keyof Cursors]: Cursors[Name] | undefined }): Cursors {
  return Object.fromEntries(Object.entries(cursors).filter(([, value]) => value !== undefined));
}
