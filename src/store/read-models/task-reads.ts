import type { Priority } from '../../core/priority.ts';
import { lowestIdAt } from '../../core/ids.ts';
import type { AttemptOutcome, TaskStatus } from '../../core/task.ts';
import type { Reader } from '../orm.ts';

/** A task as PostgreSQL holds it: times as PostgreSQL writes them, JSON columns as text. */
export interface TaskRow {
  readonly id: string;
  readonly queue: string;
  readonly action: string | null;
  readonly priority: Priority;
  readonly status: TaskStatus;
  readonly place_ms: number;
  readonly run_at: string;
  readonly execution_time: number | null;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly max_retries: number;
  readonly backoff: string | null;
  readonly timeout_ms: number;
  readonly metadata: string | null;
  readonly trace_id: string;
  readonly worker_id: string | null;
  readonly started_at: string | null;
  readonly cancel_requested_at: string | null;
  readonly progress: string | null;
  readonly finished_at: string | null;
  /** Only where it was asked for. */
  readonly payload?: string;
}

export interface AttemptRow {
  readonly attempt: number;
  readonly worker_id: string;
  readonly started_at: string;
  readonly ordinal: number;
  readonly finished_at: string | null;
  readonly outcome: AttemptOutcome | null;
  readonly error: string | null;
  readonly result: string | null;
}

export interface TaskFilter {
  readonly statuses?: readonly TaskStatus[] | undefined;
  readonly queue?: string | undefined;
  readonly action?: string | undefined;
  readonly priority?: Priority | undefined;
  readonly traceId?: string | undefined;
  /** Milliseconds since 1970, inclusive. */
  readonly createdAfterMs?: number | undefined;
  /** Milliseconds since 1970, exclusive. */
  readonly createdBeforeMs?: number | undefined;
}

/** Reads of tasks for people. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface TaskReads {
  find(id: string): Promise<TaskRow | null>;
  exists(id: string): Promise<boolean>;
  /** Newest first, below the id `beforeId`. */
  list(filter: TaskFilter, beforeId: string | null, limit: number, withPayload: boolean): Promise<TaskRow[]>;
  /** Oldest first, above the attempt `after`. */
  attempts(id: string, after: number, limit: number): Promise<AttemptRow[]>;
  /** The last ones, oldest first. */
  latestAttempts(id: string, limit: number): Promise<AttemptRow[]>;
}

const TASK_COLUMNS = [
  'id',
  'queue',
  'action',
  'priority',
  'status',
  'place_ms',
  'run_at',
  'execution_time',
  'attempt',
  'failures',
  'lost',
  'max_retries',
  'backoff',
  'timeout_ms',
  'metadata',
  'trace_id',
  'worker_id',
  'started_at',
  'cancel_requested_at',
  'progress',
  'finished_at',
] as const;

const ATTEMPT_COLUMNS = [
  'attempt',
  'worker_id',
  'started_at',
  'ordinal',
  'finished_at',
  'outcome',
  'error',
  'result',
] as const;

export function createTaskReads(reader: Reader): TaskReads {
  return {
    async find(id) {
      const row = await reader.read((db) =>
        db.selectFrom('tasks').select(TASK_COLUMNS).select('payload').where('id', '=', id).executeTakeFirst(),
      );
      return (row as TaskRow | undefined) ?? null;
    },

    async exists(id) {
      const row = await reader.read((db) =>
        db.selectFrom('tasks').select('id').where('id', '=', id).executeTakeFirst(),
      );
      return row !== undefined;
    },

    async list(filter, beforeId, limit, withPayload) {
      const { statuses, queue, action, priority, traceId, createdAfterMs, createdBeforeMs } = filter;
      const rows = await reader.read((db) => {
        let query = db.selectFrom('tasks').select(TASK_COLUMNS).orderBy('id', 'desc').limit(limit);
        if (withPayload) query = query.select('payload');
        if (beforeId !== null) query = query.where('id', '<', beforeId);
        // As bounds of the id, they leave out the partitions of other days.
        if (createdAfterMs !== undefined) query = query.where('id', '>=', lowestIdAt(createdAfterMs));
        if (createdBeforeMs !== undefined) query = query.where('id', '<', lowestIdAt(createdBeforeMs));
        if (statuses !== undefined) query = query.where('status', 'in', statuses);
        if (queue !== undefined) query = query.where('queue', '=', queue);
        if (action !== undefined) query = query.where('action', '=', action);
        if (priority !== undefined) query = query.where('priority', '=', priority);
        if (traceId !== undefined) query = query.where('trace_id', '=', traceId);
        return query.execute();
      });
      return rows as TaskRow[];
    },

    async attempts(id, after, limit) {
      const rows = await reader.read((db) =>
        db
          .selectFrom('execution_logs')
          .select(ATTEMPT_COLUMNS)
          .where('task_id', '=', id)
          .where('attempt', '>', after)
          .orderBy('attempt')
          .limit(limit)
          .execute(),
      );
      return rows;
    },

    async latestAttempts(id, limit) {
      const rows = await reader.read((db) =>
        db
          .selectFrom('execution_logs')
          .select(ATTEMPT_COLUMNS)
          .where('task_id', '=', id)
          .orderBy('attempt', 'desc')
          .limit(limit)
          .execute(),
      );
      return rows.toReversed();
    },
  };
}
