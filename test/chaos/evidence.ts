import type { AttemptOutcome, TaskStatus } from '../../src/core/task.ts';

/** Everything that a run left behind, as the checker sees it. All times are milliseconds since 1970 by one clock. */
export interface Evidence {
  readonly bounds: Bounds;
  readonly tasks: readonly TaskRecord[];
  /** Of each task, by attempt. */
  readonly attempts: ReadonlyMap<string, readonly AttemptRecord[]>;
  readonly deadLetters: readonly DeadLetterRecord[];
  /** What the handlers themselves noted, past the scheduler. */
  readonly executions: readonly Execution[];
  readonly answers: readonly Answer[];
  readonly processes: readonly ProcessRecord[];
  /** When Redis or PostgreSQL was not itself, whole system; bounds are extended by these. */
  readonly disturbances: readonly Disturbance[];
  readonly rest: RestState;
}

export interface Bounds {
  readonly ttlMs: number;
  /** From the last sign of a worker, or the end of a disturbance, until its tasks are claimable again. */
  readonly recoveryMs: number;
  /** How long a task may be overtaken by one of lower rank, by queue; `recoveryMs` unless named. */
  readonly overtakingMs: Readonly<Record<string, number>>;
  readonly lostCap: number;
  /** What two processes' clocks, timers and the machine's load may add to a bound. */
  readonly slackMs: number;
}

export interface TaskRecord {
  readonly id: string;
  /** The client's own name of the submission; null for tasks that no client submitted. */
  readonly ref: string | null;
  /** What the submission asked the handler to do. */
  readonly kind: string | null;
  readonly queue: string;
  readonly priority: number;
  readonly placeMs: number;
  readonly status: TaskStatus;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly maxRetries: number;
  readonly cancelRequested: boolean;
  /** Time in the id, which the API makes before it writes the row. */
  readonly createdMs: number;
  /** The row's `run_at`: when it could first start, until a retry, release, reclaim or requeue moves it. */
  readonly runAtMs: number;
  /** Delay that the submission asked for. */
  readonly delayMs: number;
  readonly backoff: { readonly baseMs: number; readonly factor: number; readonly maxMs: number } | null;
  readonly finishedAtMs: number | null;
}

export interface AttemptRecord {
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
  /** Null: its process ended first. */
  readonly leftAtMs: number | null;
}

/** One request and what came back. */
export interface Answer {
  readonly op: 'submit' | 'batch' | 'refused' | 'cancel' | 'requeue';
  /** Names of the submissions in it. */
  readonly refs: readonly string[];
  readonly key: string | null;
  /** Null: no answer came. */
  readonly status: number | null;
  readonly ids: readonly string[];
  /** What the answer said of the task. */
  readonly taskStatus: string | null;
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
}

export interface Interval {
  readonly fromMs: number;
  /** Infinity: to the end of the run and beyond. */
  readonly toMs: number;
}

export interface Disturbance extends Interval {
  readonly what: 'redis' | 'postgresql' | 'sweepers' | 'paused';
  readonly fault: string;
  /** Only this queue is concerned; null: all. */
  readonly queue?: string | null;
}

export interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly atMs: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One incarnation of a process. */
export interface ProcessRecord {
  readonly name: string;
  readonly kind: 'api' | 'worker' | 'reclaimer';
  readonly pid: number;
  readonly workerId: string | null;
  readonly slots: number;
  readonly startedAtMs: number;
  readonly exitedAtMs: number | null;
  readonly exit: { readonly code: number | null; readonly signal: string | null } | null;
  /** Why it was to end; null: it ended by itself. */
  readonly endedBy: string | null;
  /** When it stood still or could not reach a store. */
  readonly cutOff: readonly (Interval & { readonly fault: string })[];
  /** Warnings, errors and the lines that invariants ask for; not every line. */
  readonly log: readonly LogEntry[];
}

export interface RestState {
  /** Milliseconds from the last heal until no task was open; null: it did not come to rest. */
  readonly settledAfterMs: number | null;
  /** Redis keys with more in them than there should be, as text. */
  readonly leftInRedis: readonly string[];
  /** What /queues says, as text, where it disagrees with PostgreSQL. */
  readonly countsThatDisagree: readonly string[];
  /** Connections to PostgreSQL after every process has ended. */
  readonly connectionsLeft: number;
}

export interface Violation {
  readonly invariant: string;
  readonly taskId: string | null;
  readonly message: string;
}

/** Checks one property of a whole run. */
export type Invariant = (evidence: Evidence) => Violation[];
