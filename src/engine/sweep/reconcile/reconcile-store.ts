import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../../config/timings.ts';
import { FIRST_ID } from '../../../core/ids.ts';
import type { Position } from '../../../core/priority.ts';
import type { Database } from '../../../postgres/database.ts';
import { loadSql } from '../../../postgres/sql.ts';
import { positionOfRow, type PositionRow } from '../../order/position-row.ts';
import { loadAllQueueSettings, type QueueRow } from '../../order/queue-settings.ts';
import {
  createTaskStates,
  waitingTask,
  type TaskStates,
  type WaitingRow,
  type WaitingTask,
} from '../../order/task-states.ts';

export interface DatedTask extends WaitingTask {
  readonly runAt: string;
}

/** A place in the order (run_at, id). */
export interface RangePlace {
  readonly runAt: string;
  readonly id: string;
}

export interface RunningTask {
  readonly queue: string;
  readonly position: Position;
  readonly workerId: string;
}

/** A place in the order (worker, id). */
export interface RunningPlace {
  readonly workerId: string;
  readonly id: string;
}

/**
 * PostgreSQL's side of the comparison with Redis.
 * Every method throws `StoreUnavailableError` when PostgreSQL did not answer.
 */
export interface ReconcileStore extends TaskStates {
  queues(): Promise<QueueRow[]>;
  /** Returns waiting tasks by (run_at, id). */
  waitingRange(after: RangePlace, toRunAt: string, most: number): Promise<DatedTask[]>;
  /** Returns waiting tasks of some queues in the order in which they run; from the first one if `after` is null. */
  waitingOfQueues(queues: readonly string[], after: Position | null, most: number): Promise<WaitingTask[]>;
  /** Returns PROCESSING tasks by (worker, id), of some queues, or of all if `queues` is null. */
  processingOfQueues(queues: readonly string[] | null, after: RunningPlace, most: number): Promise<RunningTask[]>;
}

const WAITING_RANGE = loadSql(import.meta.dirname, 'waiting-range');
const WAITING_OF_QUEUES = loadSql(import.meta.dirname, 'waiting-of-queues');
const PROCESSING_OF_QUEUES = loadSql(import.meta.dirname, 'processing-of-queues');

export function createReconcileStore({ runWithin }: Pick<Database, 'runWithin'>): ReconcileStore {
  const runShort = runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    ...createTaskStates(runShort),
    queues: () => loadAllQueueSettings(runShort),
    async waitingRange({ runAt, id }, toRunAt, most) {
      const rows = await runShort<WaitingRow & { run_at: string }>(WAITING_RANGE, [runAt, id, toRunAt, most]);
      return rows.map((row) => ({ ...waitingTask(row), runAt: row.run_at }));
    },
    async waitingOfQueues(queues, after, most) {
      const place = after === null ? [0, 0, FIRST_ID] : [after.priority, after.placeMs, after.id];
      return (await runShort<WaitingRow>(WAITING_OF_QUEUES, [queues, ...place, most])).map(waitingTask);
    },
    async processingOfQueues(queues, { workerId, id }, most) {
      const rows = await runShort<PositionRow & { queue: string; worker_id: string }>(PROCESSING_OF_QUEUES, [
        queues,
        workerId,
        id,
        most,
      ]);
      return rows.map((row) => ({ queue: row.queue, position: positionOfRow(row), workerId: row.worker_id }));
    },
  };
}
