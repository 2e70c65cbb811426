import type { Position } from '../../core/priority.ts';
import type { TaskStatus } from '../../core/task.ts';
import type { Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import { positionOfRow, type PositionRow } from './position-row.ts';

export interface WaitingTask {
  readonly queue: string;
  readonly position: Position;
  /** Milliseconds until the task may start; negative if that time has passed. */
  readonly waitMs: number;
}

export interface TaskState extends WaitingTask {
  readonly status: TaskStatus;
  /** The worker that runs the task while it is PROCESSING; null otherwise. */
  readonly workerId: string | null;
}

export interface TaskStates {
  /** Returns the given tasks that exist, by id. */
  statusesOf(ids: readonly string[]): Promise<Map<string, TaskState>>;
}

const STATUSES_OF = loadSql(import.meta.dirname, 'statuses-of');

/** Looks tasks up by id. Throws the errors of `Database`. */
export function createTaskStates(run: Run): TaskStates {
  return {
    async statusesOf(ids) {
      const rows = await run<WaitingRow & { status: TaskStatus; worker_id: string | null }>(STATUSES_OF, [ids]);
      return new Map(rows.map((row) => [row.id, { ...waitingTask(row), status: row.status, workerId: row.worker_id }]));
    },
  };
}

export interface WaitingRow extends PositionRow {
  readonly queue: string;
  readonly wait_ms: number;
}

export function waitingTask(row: WaitingRow): WaitingTask {
  return { queue: row.queue, position: positionOfRow(row), waitMs: row.wait_ms };
}
