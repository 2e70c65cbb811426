import { FIRST_ID, LAST_ID } from '../../../core/ids.ts';
import type { DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import { rangeOf } from './prune-days.ts';
import type { Day, IdRange, Retention } from './prune-store.ts';
import { DAY_MS, retentionOf, type PruneDuty } from './prune.ts';

/**
 * Deletes old tasks one by one where no day is going to be dropped with them: in the default partitions, and, if a
 * retention is shorter than a day, in the days that are not past yet.
 */
export async function pruneRows(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, place, limits } = context;
  const retention = retentionOf(context);
  let after = (place.get() as string | undefined) ?? FIRST_ID;
  // The place is stored only after a successful slice. After a failure, the next pass starts a new round.
  place.set(undefined);
  const ranges = rangesBetween(await store.days(retention), retention);
  do {
    const range = ranges.find(({ before }) => before > after);
    if (range === undefined) return 'ended';
    await pass.keep();
    const { looked, lastId, deleted } = await store.pruneTasks(pass.grant, after, range, retention, limits.batchRows);
    pass.result.pruned.tasks += deleted;
    after = lastId !== null && looked === limits.batchRows ? lastId : range.before;
  } while (!context.isSpent());
  place.set(after);
  return 'unfinished';
}

/** Returns the ranges of ids between the days that are left to be dropped, in their order. */
export function rangesBetween(days: readonly Day[], { retentionMs, failedRetentionMs }: Retention): IdRange[] {
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
