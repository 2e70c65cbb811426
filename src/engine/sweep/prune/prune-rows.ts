import { FIRST_ID, LAST_ID } from '../../../core/ids.ts';
import type { DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import { rangeOf } from './prune-days.ts';
import type { Day, IdRange, Retention } from './prune-store.ts';
import { DAY_MS, retentionOf, type PruneDuty } from './prune.ts';

/** A round that had to leave more tasks than this is followed by a pause. */
const FEW = 10_000;

/** The pause for each of the tasks that were left: 10 minutes for 100,000. Looking at one takes about 20 µs. */
const PAUSE_A_TASK_MS = 6;

interface RowsPlace {
  /** The last id that the round has looked at; undefined between two rounds. */
  readonly after?: string;
  /** How many tasks the round has left. */
  readonly left: number;
  /** When the next round may begin: milliseconds since 1970 by PostgreSQL's clock. */
  readonly untilMs: number;
}

/**
 * Deletes old tasks one by one where no day is going to be dropped with them: in the default partitions, and, if a
 * retention is shorter than a day, in the days that are not past yet.
 */
export async function pruneRows(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, place, limits } = context;
  const retention = retentionOf(context);
  const { nowMs } = pass.grant;
  let { after, left, untilMs } = (place.get() as RowsPlace | undefined) ?? { left: 0, untilMs: 0 };
  if (after === undefined && untilMs > nowMs) return 'ended';
  // The place is stored only after a successful slice. After a failure, the next pass starts a new round.
  place.set(undefined);
  if (after === undefined) [after, left] = [FIRST_ID, 0];
  const ranges = rangesBetween(await store.days(retention), retention);
  let looked: number;
  do {
    const id: string = after;
    const range = ranges.find(({ before }) => before > id);
    if (range === undefined) {
      place.set({ left, untilMs: left > FEW ? nowMs + left * PAUSE_A_TASK_MS : 0 } satisfies RowsPlace);
      return 'ended';
    }
    await pass.keep();
    const slice = await store.pruneTasks(pass.grant, after, range, retention, limits.batchRows);
    pass.result.pruned.tasks += slice.deleted;
    looked = slice.looked;
    left += looked - slice.deleted;
    after = slice.lastId !== null && looked === limits.batchRows ? slice.lastId : range.before;
  } while (looked === 0 || !context.isSpent());
  place.set({ after, left, untilMs } satisfies RowsPlace);
  return 'unfinished';
}

/** Returns the ranges of ids between the days that are left to be dropped, in their order. */
function rangesBetween(days: readonly Day[], { retentionMs, failedRetentionMs }: Retention): IdRange[] {
  const isShort = Math.min(retentionMs, failedRetentionMs) < DAY_MS;
  const ranges: IdRange[] = [];
  let from = FIRST_ID;
  for (const { day, past } of days) {
    if (isShort && !past) continue;
    const dropped = rangeOf(day);
    if (dropped.from > from) ranges.push({ from, before: dropped.from });
    from = dropped.before;
  }
  return [...ranges, { from, before: LAST_ID }];
}
