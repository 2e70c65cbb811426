import { FIRST_ID } from '../../../core/ids.ts';
import type { PruneCursor } from '../cursors.ts';
import type { DutyContext, DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import type { PruneStore, Retention } from './prune-store.ts';

/** What the duties that prune get. */
export interface PruneDuty extends DutyContext {
  readonly store: PruneStore;
}

/** Partitions are made so many days ahead: a week in which nobody has to be there. */
const DAYS_AHEAD = 7;

/** Rows that a survey, which only reads, looks at in one statement. */
const SURVEYED_ROWS = 50_000;

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

/**
 * Deletes tasks that are older than their retention, and never an unfinished one: whole days where a day holds nothing
 * else, row by row where it does. A round that takes longer than one pass goes on in the next ones.
 */
export async function prune(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { settings, log } = context;
  const retention = { retentionMs: settings.RETENTION, failedRetentionMs: settings.RETENTION_FAILED };
  // At least one step a pass, or a slow start would keep it from ever getting on.
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

/** Surveys one slice of a past day; drops the day when its end is reached and nothing in it is wanted. */
async function pruneDays(
  context: PruneDuty,
  pass: Pass,
  retention: Retention,
  { day, after }: DaysCursor,
): Promise<PruneCursor> {
  const { store, log } = context;
  const days = await store.pastDays(retention);
  const next = (past: string): PruneCursor => ({ phase: 'days', day: `${past}+`, after: FIRST_ID });
  // `<day>+` sorts behind the day and before the one after it.
  const present = days.find((candidate) => candidate >= day);
  if (present === undefined) return { phase: 'rows', after: FIRST_ID };

  // Set before the day is looked at: one whose statements fail must not keep the others, nor rows of their own, for good.
  pass.cursors.prune = next(present);
  const { looked, lastId, wanted } = await store.surveyDay(
    present,
    present === day ? after : FIRST_ID,
    retention,
    SURVEYED_ROWS,
  );
  if (wanted) return next(present);
  if (looked === SURVEYED_ROWS && lastId !== null) return { phase: 'days', day: present, after: lastId };
  await pass.keep();
  if (await store.dropDay(pass.grant, present)) {
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
  // As with the days: should the statement fail, the next round begins with the days again.
  delete pass.cursors.prune;
  const { looked, lastId, deleted } = await store.pruneTasks(pass.grant, after, retention, limits.batchRows);
  pass.result.pruned.tasks += deleted;
  if (lastId === null || looked < limits.batchRows) return null;
  return { phase: 'rows', after: lastId };
}
