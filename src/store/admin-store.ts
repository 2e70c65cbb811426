import type { Position, Priority } from '../core/priority.ts';
import type { TaskStatus } from '../core/task.ts';
import type { Database } from './database.ts';
import type { DeadLetterReason } from './entities/dead-letter.ts';
import { loadSql } from './sql.ts';

/** What became of a request to cancel; `finished` changed nothing. */
export interface CancelResult {
  readonly verdict: 'cancelled' | 'requested' | 'already' | 'finished';
  readonly status: TaskStatus;
  readonly queue: string;
  readonly position: Position;
}

/** Which open dead letters are meant; null is "any". Times are ISO 8601. */
export interface DeadLetterFilter {
  readonly queue: string | null;
  readonly action: string | null;
  readonly reason: DeadLetterReason | null;
  readonly failedAfter: string | null;
  readonly failedBefore: string | null;
  /** A part of the errors' JSON text. */
  readonly errorContains: string | null;
}

export const ANY_DEAD_LETTER: DeadLetterFilter = {
  queue: null,
  action: null,
  reason: null,
  failedAfter: null,
  failedBefore: null,
  errorContains: null,
};

/** Where a requeued task goes in the order of its queue: to its old place, or behind what waits now. */
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

/** How far a requeue in batches has come; the next batch goes on from here. */
export interface RequeueProgress {
  readonly afterId: string | null;
  readonly baseMs: number | null;
  readonly requeued: number;
}

export const REQUEUE_START: RequeueProgress = { afterId: null, baseMs: null, requeued: 0 };

export interface RequeueBatch {
  /** Dead letters that were looked at; fewer than asked for means that there are no more. */
  readonly matched: number;
  readonly tasks: readonly RequeuedTask[];
  readonly progress: RequeueProgress;
}

export interface QueueRow {
  readonly name: string;
  readonly paused: boolean;
  readonly version: number;
}

/** What people do to tasks and queues. Throws as `Database` does. */
export interface AdminStore {
  /** Null for an unknown task. */
  cancel(id: string): Promise<CancelResult | null>;
  /** Null where the task has no open dead letter or is no longer FAILED. */
  requeueOne(id: string, place: RequeuePlace): Promise<RequeuedTask | null>;
  /** One statement's worth of a requeue by filter, in the order of the ids. */
  requeueBatch(
    filter: DeadLetterFilter,
    plan: RequeuePlan,
    progress: RequeueProgress,
    most: number,
  ): Promise<RequeueBatch>;
  /** Open dead letters that a requeue would take, up to `most`. */
  countRequeueable(filter: DeadLetterFilter, most: number | null): Promise<number>;
  /** Null for an unknown queue. */
  setPaused(queue: string, paused: boolean): Promise<QueueRow | null>;
}

const CANCEL = loadSql('cancel');
const REQUEUE = loadSql('requeue');
const COUNT_REQUEUEABLE = loadSql('count-requeueable');
const SET_PAUSED = loadSql('set-paused');

export function createAdminStore(database: Database): AdminStore {
  const requeue = async (
    id: string | null,
    filter: DeadLetterFilter,
    plan: RequeuePlan,
    { afterId, baseMs, requeued }: RequeueProgress,
    most: number,
  ): Promise<RequeueBatch> => {
    const values = [id, afterId, ...filterValues(filter), most, plan.place, baseMs, plan.spacingMs, requeued];
    const rows = await database.run<RequeueRow>(REQUEUE, values);
    const tasks = rows.flatMap((row) => (row.requeued ? [requeuedTask(row)] : []));
    const last = rows.at(-1);
    return {
      matched: rows.length,
      tasks,
      progress: { afterId: last?.id ?? afterId, baseMs: last?.base_ms ?? baseMs, requeued: requeued + tasks.length },
    };
  };

  return {
    async cancel(id) {
      const [row] = await database.run<CancelRow>(CANCEL, [id]);
      if (row === undefined) return null;
      const { verdict, status, queue, priority, place_ms: placeMs } = row;
      return { verdict, status, queue, position: { id, priority, placeMs } };
    },

    async requeueOne(id, place) {
      const { tasks } = await requeue(id, ANY_DEAD_LETTER, { place, spacingMs: null }, REQUEUE_START, 1);
      return tasks[0] ?? null;
    },

    requeueBatch: (filter, plan, progress, most) => requeue(null, filter, plan, progress, most),

    async countRequeueable(filter, most) {
      const [row] = await database.run<{ count: number }>(COUNT_REQUEUEABLE, [...filterValues(filter), most]);
      return row?.count ?? 0;
    },

    async setPaused(queue, paused) {
      const [row] = await database.run<QueueRow>(SET_PAUSED, [queue, paused]);
      return row ?? null;
    },
  };
}

interface CancelRow {
  readonly verdict: CancelResult['verdict'];
  readonly status: TaskStatus;
  readonly queue: string;
  readonly priority: Priority;
  readonly place_ms: number;
}

interface RequeueRow {
  readonly id: string;
  readonly requeued: boolean;
  readonly base_ms: number;
  readonly queue: string;
  readonly priority: Priority;
  readonly place_ms: number;
  readonly wait_ms: number;
}

/** In the order in which both statements take them. */
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

function requeuedTask({ id, queue, priority, place_ms, wait_ms }: RequeueRow): RequeuedTask {
  return { queue, position: { id, priority, placeMs: place_ms }, waitMs: wait_ms };
}
