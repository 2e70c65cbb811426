import { FIRST_ID } from '../../../core/ids.ts';
import type { PruneCursor } from '../cursors.ts';
import type { DutyContext, DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import type { PruneStore, Retention } from './prune-store.ts';

/** The arguments of the duties that prune. */
export interface PruneDuty extends DutyContext {
  readonly store: PruneStore;
}

/** Partitions are made a week ahead, so that a failure of this duty need not be repaired at once. */
const DAYS_AHEAD = 7;

/** Makes the partitions of the days to come. */
export async function makePartitions({ store }: PruneDuty): Promise<DutyEnd> {
  await store.ensurePartitions(DAYS_AHEAD);
  return 'ended';
}

/** Deletes expired idempotency keys. */
export async function pruneKeys(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, limits } = context;
  let deleted: number;
  do {
    await pass.keep();
    deleted = await store.pruneKeys(pass.grant, limits.batchRows);
    pass.result.pruned.keys += deleted;
  } while (deleted === limits.batchRows && !context.isSpent());
  return deleted === limits.batchRows ? 'unfinished' : 'ended';
}

/** Rebuilds the bloated indexes of unfinished tasks, one at a time, because writers wait meanwhile. */
export async function rebuildIndexes(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, log } = context;
  for (;;) {
    await pass.keep();
    const index = await store.rebuildIndex(pass.grant);
    if (index === null) return 'ended';
    log.info({ index }, 'bloated index rebuilt');
    if (context.isSpent()) return 'unfinished';
  }
}

/**
 * Deletes tasks that are older than their retention, but never an unfinished one. A day with nothing but such tasks
 * is dropped as a whole; otherwise the tasks are deleted row by row. A round that takes longer than one pass goes on
 * in the next passes.
 */
export async function prune(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { settings, log } = context;
  const retention = { retentionMs: settings.RETENTION, failedRetentionMs: settings.RETENTION_FAILED };
  // Take at least one step in each pass. Otherwise a slow start could use up the budget every time.
  do {
    await pass.keep();
    const place: PruneCursor = pass.cursors.prune ?? { phase: 'days', day: '', after: FIRST_ID };
    const next =
      place.phase === 'days'
        ? await pruneDays(context, pass, retention, place)
        : await pruneRows(context, pass, retention, place);
    if (next === null) delete pass.cursors.prune;
    else pass.cursors.prune = next;
  } while (pass.cursors.prune !== undefined && !context.isSpent());
  const { tasks, days } = pass.result.pruned;
  if (tasks + days > 0) log.debug({ tasks, days }, 'old tasks pruned');
  return pass.cursors.prune === undefined ? 'ended' : 'unfinished';
}

type DaysCursor = Extract<PruneCursor, { phase: 'days' }>;
type RowsCursor = Extract<PruneCursor, { phase: 'rows' }>;

/** Surveys one slice of a past day. Drops the day after its last slice if none of its tasks has to be kept. */
async function pruneDays(
  context: PruneDuty,
  pass: Pass,
  retention: Retention,
  { day, after, since }: DaysCursor,
): Promise<PruneCursor> {
  const { store, log, limits } = context;
  const days = await store.pastDays(retention);
  const next = (past: string): PruneCursor => ({ phase: 'days', day: `${past}+`, after: FIRST_ID });
  // `<day>+` sorts after the day itself and before the next day.
  const present = days.find((candidate) => candidate >= day);
  if (present === undefined) return { phase: 'rows', after: FIRST_ID };

  // Set the cursor before looking at the day. If a statement for this day fails, the next pass goes on with the next
  // day, so that one day does not block the others, nor the deletion row by row.
  pass.cursors.prune = next(present);
  const isGoingOn = present === day && since !== undefined;
  const survey = await store.surveyDay(present, isGoingOn ? after : FIRST_ID, retention, limits.surveyRows);
  const { looked, lastId, wanted } = survey;
  const surveyedSince = isGoingOn ? since : survey.now;
  if (wanted) return next(present);
  if (looked === limits.surveyRows && lastId !== null)
    return { phase: 'days', day: present, after: lastId, since: surveyedSince };
  await pass.keep();
  // One batch of dead letters in each step. The survey after the last id returns at once.
  if ((await store.unburyDay(pass.grant, present, limits.batchRows)) === limits.batchRows)
    return { phase: 'days', day: present, after: lastId ?? after, since: surveyedSince };
  await pass.keep();
  if (await store.dropDay(pass.grant, present, surveyedSince)) {
    pass.result.pruned.days++;
    log.info({ day: present }, 'partitions of a past day dropped');
  }
  return next(present);
}

async function pruneRows(
  context: PruneDuty,
  pass: Pass,
  retention: Retention,
  { after }: RowsCursor,
): Promise<PruneCursor | null> {
  const { store, limits } = context;
  // Delete the cursor first. If the statement fails, the next round begins with the days again.
  delete pass.cursors.prune;
  const { looked, lastId, deleted } = await store.pruneTasks(pass.grant, after, retention, limits.batchRows);
  pass.result.pruned.tasks += deleted;
  if (lastId === null || looked < limits.batchRows) return null;
  return { phase: 'rows', after: lastId };
}
