import type { Actor } from '../../core/access/audit.ts';
import { FIRST_ID } from '../../core/ids.ts';
import type { Position, Priority } from '../../core/priority.ts';
import { actorValues } from '../../postgres/audit/write-audit.ts';
import type { Database } from '../../postgres/database.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';
import type { DeadLetterReason } from '../../postgres/schema/entities/tasks/dead-letter.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Selects open dead letters; null means any. Times are in ISO 8601. */
export interface DeadLetterFilter {
  readonly queue: string | null;
  readonly action: string | null;
  readonly reason: DeadLetterReason | null;
  readonly failedAfter: string | null;
  readonly failedBefore: string | null;
  /** Text that the JSON text of the errors contains. */
  readonly errorContains: string | null;
}

/** A filter among the dead letters that the client sees. It is checked again in every batch. */
export interface SeenDeadLetterFilter extends DeadLetterFilter {
  readonly visible: VisibleQueues;
  /** Whether `errorContains` is searched for in stack traces as well. */
  readonly stacks: boolean;
}

export const ANY_DEAD_LETTER: SeenDeadLetterFilter = {
  queue: null,
  action: null,
  reason: null,
  failedAfter: null,
  failedBefore: null,
  errorContains: null,
  visible: null,
  stacks: true,
};

/** The place of a requeued task in its queue: its old place (`keep`), or behind the tasks that wait now (`back`). */
export type RequeuePlace = 'keep' | 'back';

export interface RequeuePlan {
  readonly place: RequeuePlace;
  /** Milliseconds between two tasks; null makes all of them runnable at once. */
  readonly spacingMs: number | null;
}

export interface RequeuedTask {
  readonly queue: string;
  readonly position: Position;
  readonly waitMs: number;
}

/** The progress of a requeue by filter; the next batch continues from here. */
export interface RequeueProgress {
  /** The last dead letter that was looked at. */
  readonly after: { readonly taskId: string; readonly attempt: number };
  /** Start of the requeue by PostgreSQL's clock; null before the first batch. */
  readonly baseMs: number | null;
  readonly requeued: number;
}

export const REQUEUE_START: RequeueProgress = { after: { taskId: FIRST_ID, attempt: 0 }, baseMs: null, requeued: 0 };

/** The result of one statement. */
export interface RequeueBatch {
  /** Number of open dead letters that match the filter. */
  readonly matched: number;
  readonly tasks: readonly RequeuedTask[];
  /** Null if no dead letter follows this batch. */
  readonly next: RequeueProgress | null;
}

/** Requeues dead letters, and writes into the audit log who did it. Throws as `Database` does. */
export interface RequeueStore {
  /** Requeues one task. Returns null if it has no open dead letter or is no longer FAILED. */
  requeueOne(id: string, place: RequeuePlace, by: Actor): Promise<RequeuedTask | null>;
  /**
   * Looks at the next dead letters in the order of their task ids, and requeues up to `most` that match the filter. All
   * batches of one actor are one row of the audit log, which counts what they requeued.
   */
  requeueBatch(
    filter: SeenDeadLetterFilter,
    plan: RequeuePlan,
    progress: RequeueProgress,
    most: number,
    by: Actor,
  ): Promise<RequeueBatch>;
  /** Counts, in one batch, the dead letters that a requeue would take. */
  countBatch(filter: SeenDeadLetterFilter, progress: RequeueProgress): Promise<Omit<RequeueBatch, 'tasks'>>;
}

const REQUEUE = loadSql(import.meta.dirname, 'requeue');
const COUNT_REQUEUEABLE = loadSql(import.meta.dirname, 'count-requeueable');

/** Most tries to requeue one task. */
const ROUNDS = 3;

/** Most dead letters that one statement looks at, so that a rare filter does not exceed the statement timeout. */
const LOOK_MAX = 10_000;

/**
 * The same for a search that leaves out stack traces. Taking them out of a text costs PostgreSQL about 50 µs for each KB, and
 * the errors of one dead letter may have 100 KB.
 */
const LOOK_WITHOUT_STACKS_MAX = 1_000;

/** @param lookMax most dead letters that one statement looks at */
export function createRequeueStore(database: Pick<Database, 'run'>, lookMax = LOOK_MAX): RequeueStore {
  const lookFor = ({ errorContains, stacks }: SeenDeadLetterFilter): number =>
    errorContains === null || stacks ? lookMax : Math.min(lookMax, LOOK_WITHOUT_STACKS_MAX);

  const requeue = async (
    id: string | null,
    filter: SeenDeadLetterFilter,
    plan: RequeuePlan,
    { after, baseMs, requeued }: RequeueProgress,
    most: number,
    by: Actor,
  ): Promise<RequeueBatch> => {
    const details = id === null ? JSON.stringify(auditedFilter(filter, plan)) : null;
    const look = lookFor(filter);
    const order = [plan.place, baseMs, plan.spacingMs, requeued];
    const values = [
      id,
      after.taskId,
      after.attempt,
      look,
      ...filterValues(filter),
      most,
      ...order,
      ...actorValues(by),
      details,
      filter.visible,
      filter.stacks,
    ];
    const rows = await database.run<RequeueRow>(REQUEUE, values);
    const tasks = rows.flatMap((row) => (row.requeued ? [requeuedTask(row)] : []));
    const last = rows.at(-1);
    const ended = last === undefined || (rows.length < most && last.nth < look);
    return {
      matched: rows.filter(({ fits }) => fits).length,
      tasks,
      next: ended
        ? null
        : {
            after: { taskId: last.id, attempt: last.attempt },
            baseMs: last.base_ms,
            requeued: requeued + tasks.length,
          },
    };
  };

  return {
    async requeueOne(id, place, by) {
      for (let round = 0; round < ROUNDS; round++) {
        const { matched, tasks } = await requeue(id, ANY_DEAD_LETTER, { place, spacingMs: null }, REQUEUE_START, 1, by);
        // An open dead letter whose task is not FAILED: another requeue held the task when this statement began. Since
        // then, the task may have failed again, which only a new statement sees.
        if (tasks[0] !== undefined || matched === 0) return tasks[0] ?? null;
      }
      return null;
    },

    requeueBatch: (filter, plan, progress, most, by) => requeue(null, filter, plan, progress, most, by),

    async countBatch(filter, progress) {
      const { taskId, attempt } = progress.after;
      const look = lookFor(filter);
      const values = [taskId, attempt, look, ...filterValues(filter), filter.visible, filter.stacks];
      const [row] = await database.run<CountRow>(COUNT_REQUEUEABLE, values);
      if (row === undefined || row.looked < look) return { matched: row?.count ?? 0, next: null };
      return { matched: row.count, next: { ...progress, after: { taskId: row.last_id, attempt: row.last_attempt } } };
    },
  };
}

interface CountRow {
  readonly looked: number;
  readonly count: number;
  readonly last_id: string;
  readonly last_attempt: number;
}

interface RequeueRow {
  readonly id: string;
  readonly attempt: number;
  readonly nth: number;
  readonly fits: boolean;
  readonly requeued: boolean;
  readonly base_ms: number;
  readonly queue: string;
  readonly priority: Priority;
  readonly place_ms: number;
  readonly wait_ms: number;
}

/** Returns the filter as arguments, in the order that both statements use. */
function filterValues({
  queue,
  action,
  reason,
  failedAfter,
  failedBefore,
  errorContains,
}: DeadLetterFilter): unknown[] {
  return [queue, action, reason, failedAfter, failedBefore, errorContains];
}

/** Returns what the audit log says of a requeue by filter: only what was given, with the names of the API. */
function auditedFilter(filter: DeadLetterFilter, { place, spacingMs }: RequeuePlan): object {
  const { queue, action, reason, failedAfter, failedBefore, errorContains } = filter;
  const given = Object.entries({
    queue,
    action,
    reason,
    failed_after: failedAfter,
    failed_before: failedBefore,
    error_contains: errorContains,
  }).filter(([, value]) => value !== null);
  return { filter: Object.fromEntries(given), place, ...(spacingMs === null ? {} : { rate: 1_000 / spacingMs }) };
}

function requeuedTask({ id, queue, priority, place_ms, wait_ms }: RequeueRow): RequeuedTask {
  return { queue, position: { id, priority, placeMs: place_ms }, waitMs: wait_ms };
}
