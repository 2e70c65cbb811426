import type { Priority } from '../../core/priority.ts';
import type { AttemptOutcome, TaskStatus } from '../../core/task.ts';

/** A task. Times are in PostgreSQL's text format, and JSON columns are text. */
export interface TaskRow {
  readonly id: string;
  readonly queue: string;
  readonly action: string | null;
  readonly priority: Priority;
  readonly group: string | null;
  readonly status: TaskStatus;
  /** False for a completed task whose queue does not keep such tasks. Its counters and times are null. */
  readonly kept: boolean;
  /** Null if the task was not kept, and could run at once. */
  readonly run_at: string | null;
  readonly execution_time: number | null;
  readonly attempt: number | null;
  readonly failures: number | null;
  readonly lost: number | null;
  readonly max_retries: number;
  readonly backoff: string | null;
  readonly timeout_ms: number;
  readonly metadata: string | null;
  readonly trace_id: string;
  readonly worker_id: string | null;
  readonly started_at: string | null;
  readonly cancel_requested_at: string | null;
  /** Undefined if it was not read. */
  readonly progress?: string | null;
  readonly finished_at: string | null;
  /** Undefined if it was not read. */
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
  /** Undefined if it was not read. */
  readonly result?: string | null;
}

/** The columns of a task, except its metadata, its progress and its payload, which may be long. */
export const SHORT_TASK_COLUMNS = [
  'id',
  'queue',
  'action',
  'priority',
  'group',
  'status',
  'kept',
  'run_at',
  'execution_time',
  'attempt',
  'failures',
  'lost',
  'max_retries',
  'backoff',
  'timeout_ms',
  'trace_id',
  'worker_id',
  'started_at',
  'cancel_requested_at',
  'finished_at',
] as const;

export const ATTEMPT_COLUMNS_WITHOUT_RESULT = [
  'attempt',
  'worker_id',
  'started_at',
  'ordinal',
  'finished_at',
  'outcome',
  'error',
] as const;

export const ATTEMPT_COLUMNS = [...ATTEMPT_COLUMNS_WITHOUT_RESULT, 'result'] as const;
