import { FIRST_ID, lowestIdAt } from '../../../core/ids.ts';
import type { PruneCursor } from '../cursors.ts';
import type { DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import type { Day, IdRange, Retention } from './prune-store.ts';
import { DAY_MS, retentionOf, type PruneDuty } from './prune.ts';

/**
 * Drops past days. Their tasks that must stay, at most `limits.movedTasks`, are moved to the default partitions first. If
 * more of them must stay, the others are deleted one by one. A round that takes longer than one pass goes on in the next
 * passes.
 */
export async function pruneDays(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { log } = context;
  const retention = retentionOf(context);
  // Take at least one step in each pass. Otherwise a slow start could use up the budget every time.
  do {
    await pass.keep();
    const place: PruneCursor = pass.cursors.prune ?? { phase: 'days', day: '' };
    const next =
      place.phase === 'days'
        ? await lookAtDay(context, pass, retention, place)
        : await pruneRowsOfDay(context, pass, retention, place);
    if (next === null) delete pass.cursors.prune;
    else pass.cursors.prune = next;
  } while (pass.cursors.prune !== undefined && !context.isSpent());
  const { tasks, days } = pass.result.pruned;
  if (tasks + days > 0) log.debug({ tasks, days }, 'old tasks pruned');
  return pass.cursors.prune === undefined ? 'ended' : 'unfinished';
}

type DaysCursor = Extract<PruneCursor, { phase: 'days' }>;
type RowsCursor = Extract<PruneCursor, { phase: 'rows' }>;

const after = (day: string): DaysCursor => ({ phase: 'days', day: `${day}+` });
const rowsOf = (day: string, brief: boolean): RowsCursor => ({ phase: 'rows', day, after: FIRST_ID, held: 0, brief });

/** Takes the next step with a past day: surveys a slice of it, or decides what becomes of it. */
async function lookAtDay(
  context: PruneDuty,
  pass: Pass,
  retention: Retention,
  { day: from }: DaysCursor,
): Promise<PruneCursor | null> {
  const { store, limits } = context;
  const days = await store.days(retention);
  const present = days.find(({ day, past, due }) => past && due && day >= from);
  if (present === undefined) return null;
  const { day, surveyedTo, held } = present;

  // Set the cursor before looking at the day. If a statement for this day fails, the next pass deletes some of its tasks
  // one by one and goes on with the next day, so that one day does not block the others.
  pass.cursors.prune = rowsOf(day, true);
  // The last look at all its tasks found too many. Each of them must be looked at again, so delete what may go.
  if (surveyedTo === null && held !== null && held > limits.movedTasks) return rowsOf(day, false);
  const survey = await store.surveyDay(
    pass.grant,
    day,
    surveyedTo ?? FIRST_ID,
    retention,
    limits.surveyRows,
    limits.movedTasks,
  );
  if (survey === null) return after(day);
  if (survey.lasting > limits.movedTasks) return rowsOf(day, false);
  if (survey.looked === limits.surveyRows) return { phase: 'days', day };
  if (survey.held > limits.movedTasks) {
    // Most tasks of a day end soon after it. Waiting for their retention is cheaper than deleting all the others.
    await store.noteDay(pass.grant, day, null, limits.pastDayPauseMs);
    return after(day);
  }
  return dropDay(context, pass, present);
}

async function dropDay(context: PruneDuty, pass: Pass, { day }: Day): Promise<PruneCursor> {
  const { store, log, limits } = context;
  await pass.keep();
  // One batch of dead letters in each step. The survey goes on after its last id, and finds nothing new.
  if ((await store.unburyDay(pass.grant, day, limits.batchRows)) === limits.batchRows) return { phase: 'days', day };
  await pass.keep();
  const moved = await store.dropDay(pass.grant, day, limits.movedTasks);
  if (moved === null) return rowsOf(day, true);
  pass.result.pruned.days++;
  log.info({ day, moved }, 'partitions of a past day dropped');
  return after(day);
}

async function pruneRowsOfDay(
  context: PruneDuty,
  pass: Pass,
  retention: Retention,
  cursor: RowsCursor,
): Promise<PruneCursor> {
  const { store, limits } = context;
  const { day, brief } = cursor;
  pass.cursors.prune = after(day);
  const slice = await store.pruneTasks(pass.grant, cursor.after, rangeOf(day), retention, limits.batchRows);
  const { looked, lastId, deleted } = slice;
  pass.result.pruned.tasks += deleted;
  const held = cursor.held + looked - deleted;
  if (lastId !== null && looked === limits.batchRows)
    return brief && context.isSpent() ? after(day) : { ...cursor, after: lastId, held };
  if (brief) return after(day);
  const isLeft = held > limits.movedTasks;
  await store.noteDay(pass.grant, day, isLeft ? held : null, isLeft ? limits.pastDayPauseMs : 0);
  return isLeft ? after(day) : { phase: 'days', day };
}

export function rangeOf(day: string): IdRange {
  const ms = Date.parse(day);
  return { from: lowestIdAt(ms), before: lowestIdAt(ms + DAY_MS) };
}
