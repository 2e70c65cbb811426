import type { AttemptOutcome, TaskStatus } from '../../src/core/task.ts';

/** All data of a run that the checker reads. All times are milliseconds since 1970, by one clock. */
export interface Evidence {
  readonly bounds: Bounds;
  readonly tasks: readonly TaskRecord[];
  /** The attempts of each task id, in order. */
  readonly attempts: ReadonlyMap<string, readonly AttemptRecord[]>;
  readonly deadLetters: readonly DeadLetterRecord[];
  /** The calls that the handlers recorded themselves, independently of the scheduler. */
  readonly executions: readonly Execution[];
  readonly answers: readonly Answer[];
  readonly processes: readonly ProcessRecord[];
  /** Times in which the whole system was disturbed, for instance by an outage of a store. They extend the bounds. */
  readonly disturbances: readonly Disturbance[];
  readonly rest: RestState;
  /** Rows of tasks that have no submission. */
  readonly strays: readonly StrayRow[];
  /** Ids of submissions whose pairs are not those of their metadata. */
  readonly unpaired: readonly string[];
  /** What the audit log has of each task id. */
  readonly audited: ReadonlyMap<string, AuditedActions>;
  /** The tasks that were older than some retention when the run began. */
  readonly oldTasks: readonly OldTask[];
}

/** The rows of the audit log that name a task. */
export interface AuditedActions {
  readonly cancels: number;
  readonly requeues: number;
}

/** A row that names a task which has no row in `submissions`. */
export interface StrayRow {
  readonly table: 'metadata_pairs' | 'unfinished' | 'finished' | 'attempts' | 'dlq';
  readonly taskId: string;
}

export interface OldTask {
  readonly id: string;
  /** Whether its retention is over, so that it has to be pruned. Otherwise it has to stay. */
  readonly isDue: boolean;
}

export interface Bounds {
  readonly ttlMs: number;
  /** Time from a worker's last sign of life, or from the end of a disturbance, until its tasks are claimable again. */
  readonly recoveryMs: number;
  /** How long tasks of lower rank may overtake a task, by queue; `recoveryMs` for queues that are not listed. */
  readonly overtakingMs: Readonly<Record<string, number>>;
  readonly lostCap: number;
  /** Allowance that is added to bounds for differences between clocks, for timers and for a busy machine. */
  readonly slackMs: number;
}

export interface TaskRecord {
  readonly id: string;
  /** The client's name for the submission; null for tasks that no client submitted. */
  readonly ref: string | null;
  /** What the handler has to do. */
  readonly kind: string | null;
  readonly queue: string;
  readonly priority: number;
  readonly placeMs: number;
  /** Whether its queue keeps completed tasks. */
  readonly keepCompleted: boolean;
  /** Whether it has a row in `unfinished`. */
  readonly isUnfinished: boolean;
  /** Whether it has a row in `finished`. */
  readonly isFinished: boolean;
  readonly status: TaskStatus;
  /** This and the counters are 0 if the task is forgotten. */
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly maxRetries: number;
  readonly cancelRequested: boolean;
  /** The time in the id, which the API makes before it writes the row. */
  readonly createdMs: number;
  /**
   * The row's `run_at`. It is the earliest first start, unless a retry, release, reclaim or requeue has changed it.
   * If the task is forgotten, this is the time that the submission asked for.
   */
  readonly runAtMs: number;
  /** The delay that the submission requested. */
  readonly delayMs: number;
  readonly backoff: { readonly baseMs: number; readonly factor: number; readonly maxMs: number } | null;
  readonly finishedAtMs: number | null;
}

/**
 * Returns whether nothing but its submission is left of a task. Then it was completed, and its queue does not keep such
 * tasks.
 */
export function isForgotten({ isUnfinished, isFinished }: TaskRecord): boolean {
  return !isUnfinished && !isFinished;
}

export interface AttemptRecord {
  /** The table that this row is in: an attempt that runs is in `unfinished`, the one that ended its task in `finished`. */
  readonly table: 'attempts' | 'finished' | 'unfinished';
  readonly attempt: number;
  readonly workerId: string;
  readonly ordinal: number;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | null;
  readonly outcome: AttemptOutcome | null;
}

export interface DeadLetterRecord {
  readonly taskId: string;
  readonly attempt: number;
  readonly reason: string;
  readonly failedAtMs: number;
  readonly requeuedAtMs: number | null;
}

export interface Execution {
  readonly taskId: string;
  readonly attempt: number;
  readonly pid: number;
  readonly enteredAtMs: number;
  /** Null if the process ended before the handler did. */
  readonly leftAtMs: number | null;
}

/** A request and its answer. */
export interface Answer {
  readonly op: 'submit' | 'batch' | 'refused' | 'get' | 'cancel' | 'requeue';
  /** The client's names for the submissions in the request. */
  readonly refs: readonly string[];
  readonly key: string | null;
  /** Null if no answer came. */
  readonly status: number | null;
  readonly ids: readonly string[];
  /** The task's status in the answer. */
  readonly taskStatus: string | null;
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
}

export interface Interval {
  readonly fromMs: number;
  /** Infinity if the interval did not end during the run. */
  readonly toMs: number;
}

export interface Disturbance extends Interval {
  readonly what: 'redis' | 'postgresql' | 'sweepers' | 'paused';
  readonly fault: string;
  /** The only affected queue; null for all. */
  readonly queue?: string | null;
}

export interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly atMs: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One incarnation of a process, from a start to an exit. */
export interface ProcessRecord {
  readonly name: string;
  readonly kind: 'api' | 'worker' | 'reclaimer';
  readonly pid: number;
  readonly workerId: string | null;
  readonly slots: number;
  readonly startedAtMs: number;
  readonly exitedAtMs: number | null;
  readonly exit: { readonly code: number | null; readonly signal: string | null } | null;
  /** Why the run ended it; null if it ended by itself or still runs. */
  readonly endedBy: string | null;
  /** Times in which it stood still, was about to end or could not reach a store. */
  readonly cutOff: readonly (Interval & { readonly fault: string })[];
  /** Warnings, errors and the lines that invariants need; most other lines are dropped. */
  readonly log: readonly LogEntry[];
}

export interface RestState {
  /** Milliseconds from the end of the load until no task was open; null if tasks stayed open. */
  readonly settledAfterMs: number | null;
  /** Descriptions of Redis keys that should be gone. */
  readonly leftInRedis: readonly string[];
  /** Descriptions of counts in /queues that disagree with PostgreSQL. */
  readonly countsThatDisagree: readonly string[];
  /** Connections to PostgreSQL after every process has ended. */
  readonly connectionsLeft: number;
}

export interface Violation {
  readonly invariant: string;
  readonly taskId: string | null;
  readonly message: string;
}

/** Checks one property of a run. @returns its violations */
export type Invariant = (evidence: Evidence) => Violation[];
