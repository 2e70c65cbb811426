import { FIRST_ID, type Retention } from '../store/sweep-store.ts';
import type { PruneCursor } from './cursors.ts';
import type { Pass } from './lease.ts';
import { isSpent, type SweepContext } from './sweep-context.ts';

/** Partitions are made so many days ahead: a week in which nobody has to be there. */
const DAYS_AHEAD = 7;

/** Rows that a survey, which only reads, looks at in one statement. */
const SURVEYED_ROWS = 50_000;

/**
 * Deletes what is older than its retention, and never an unfinished task:
 * whole days where a day holds nothing else, row by row where it does. Begins
 * once a minute; a round that takes longer goes on in the next passes.
 */
export async function prune(context: SweepContext, pass: Pass): Promise<void> {
  const { store, clock, limits, settings } = context;
  const cursor = pass.cursors.prune;
  const ended = cursor?.phase === 'done' ? cursor.endedMs : null;
  // A time in the future is another clock's.
  if (ended !== null && ended <= pass.grant.nowMs && pass.grant.nowMs - ended < limits.pruneIntervalMs) return;

  const retention = { retentionMs: settings.RETENTION, failedRetentionMs: settings.RETENTION_FAILED };
  const sinceMs = clock.monotonicMs();
  let place: PruneCursor | undefined = cursor?.phase === 'done' ? undefined : cursor;
  if (place === undefined) {
    await pass.keep();
    await store.ensurePartitions(DAYS_AHEAD);
    await pruneKeys(context, pass, sinceMs);
    place = { phase: 'days', day: '', after: FIRST_ID };
  }
  // At least one step a pass, or a slow start would keep it from ever getting on.
  do {
    await pass.keep();
    place =
      place.phase === 'days'
        ? await pruneDays(context, pass, retention, place)
        : await pruneRows(context, pass, retention, place);
  } while (place.phase !== 'done' && !isSpent(context, sinceMs));
  pass.cursors.prune = place;
  const { keys, tasks, days } = pass.result.pruned;
  if (keys + tasks + days > 0) context.log.debug({ keys, tasks, days }, 'old tasks pruned');
}

async function pruneKeys(context: SweepContext, pass: Pass, sinceMs: number): Promise<void> {
  const { store, limits } = context;
  let deleted: number;
  do {
    await pass.keep();
    deleted = await store.pruneKeys(pass.grant, limits.batchRows);
    pass.result.pruned.keys += deleted;
  } while (deleted === limits.batchRows && !isSpent(context, sinceMs));
}

type DaysCursor = Extract<PruneCursor, { phase: 'days' }>;
type RowsCursor = Extract<PruneCursor, { phase: 'rows' }>;

/** Surveys one slice of a past day; drops the day when its end is reached and nothing in it is wanted. */
async function pruneDays(
  context: SweepContext,
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
  context: SweepContext,
  pass: Pass,
  retention: Retention,
  { after }: RowsCursor,
): Promise<PruneCursor> {
  const { store, limits } = context;
  const { looked, lastId, deleted } = await store.pruneTasks(pass.grant, after, retention, limits.batchRows);
  pass.result.pruned.tasks += deleted;
  if (lastId === null || looked < limits.batchRows) return { phase: 'done', endedMs: pass.grant.nowMs };
  return { phase: 'rows', after: lastId };
}
