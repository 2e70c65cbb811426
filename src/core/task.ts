import type { Priority } from './priority.ts';
import type { BackoffPolicy } from './retry-policy.ts';

export const TASK_STATUSES = ['PENDING', 'SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

/** Statuses in which a task may still be started. */
export const WAITING_STATUSES = ['PENDING', 'SCHEDULED'] as const satisfies readonly TaskStatus[];

/** Statuses of tasks that have ended. */
export const ENDED_STATUSES = ['COMPLETED', 'FAILED', 'CANCELLED'] as const satisfies readonly TaskStatus[];

export const QUEUE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const QUEUE_NAME_RULE = '1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit';

/** The queue of tasks that name no queue. The schema creates it, and it is never deleted. */
export const DEFAULT_QUEUE = 'default';

/** The action of a task that names no action. */
export const DEFAULT_ACTION = 'simulate';

/** Maximum number of characters of an action's name. */
export const ACTION_LENGTH_MAX = 128;

/** Maximum number of characters of a group. */
export const GROUP_LENGTH_MAX = 128;

export const VERBS = [
  'submit',
  'promote',
  'start',
  'complete',
  'retry',
  'fail',
  'cancel',
  'abort',
  'release',
  'reclaim',
  'requeue',
] as const;
export type Verb = (typeof VERBS)[number];

interface Transition {
  readonly from: readonly (TaskStatus | null)[];
  readonly to: readonly TaskStatus[];
}

/**
 * Every legal change of a task's status; `null` means "does not exist yet".
 * The SQL files contain the same rules, which `engine/transitions.it.test.ts`
 * checks, and so does the diagram in `docs/internals.md`.
 */
export const TRANSITIONS: Readonly<Record<Verb, Transition>> = {
  submit: { from: [null], to: ['PENDING', 'SCHEDULED'] },
  promote: { from: ['SCHEDULED'], to: ['SCHEDULED'] },
  start: { from: ['PENDING', 'SCHEDULED'], to: ['PROCESSING'] },
  complete: { from: ['PROCESSING'], to: ['COMPLETED'] },
  retry: { from: ['PROCESSING'], to: ['SCHEDULED'] },
  fail: { from: ['PROCESSING'], to: ['FAILED'] },
  cancel: { from: ['PENDING', 'SCHEDULED', 'PROCESSING'], to: ['CANCELLED', 'PROCESSING'] },
  abort: { from: ['PROCESSING'], to: ['CANCELLED'] },
  release: { from: ['PROCESSING'], to: ['PENDING'] },
  reclaim: { from: ['PROCESSING'], to: ['PENDING', 'FAILED'] },
  requeue: { from: ['FAILED'], to: ['PENDING', 'SCHEDULED'] },
};

export function isLegal(verb: Verb, from: TaskStatus | null, to: TaskStatus): boolean {
  const transition = TRANSITIONS[verb];
  return transition.from.includes(from) && transition.to.includes(to);
}

export function isTerminal(status: TaskStatus): boolean {
  return status === 'COMPLETED' || status === 'FAILED' || status === 'CANCELLED';
}

/** The outcomes of an attempt that `execution_logs.outcome` may hold. */
export const ATTEMPT_OUTCOMES = ['COMPLETED', 'RETRIED', 'FAILED', 'CANCELLED', 'RELEASED', 'LOST'] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** A task to be submitted, after validation and with all defaults filled in. */
export interface NewTask {
  readonly id: string;
  /** Name of the client that submitted the task; empty if it has no name. */
  readonly client: string;
  readonly queue: string;
  readonly action: string | null;
  /** JSON text, which is stored as it is. */
  readonly payload: string;
  readonly priority: Priority;
  /** A text of the submitter's, such as a customer; null if the task has none. */
  readonly group: string | null;
  /** Seconds that `simulate` sleeps. Null means the handler's default. */
  readonly executionTimeSeconds: number | null;
  /** The earliest start, in milliseconds since 1970 by PostgreSQL's clock. Null means at once. */
  readonly runAtMs: number | null;
  readonly maxRetries: number;
  readonly backoff: BackoffPolicy | null;
  readonly timeoutMs: number;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly traceId: string;
  readonly traceparent: string | null;
}

/** A task to be committed, with the record that makes its submission repeatable. */
export interface Submission {
  readonly task: NewTask;
  readonly idempotency: IdempotencyRecord | null;
  /** Name of the client whose quota counts the task; missing if none does. */
  readonly quotaClient?: string | undefined;
}

export interface IdempotencyRecord {
  /** Belongs to the client and the queue of the task: others may use the same text. */
  readonly key: string;
  /** SHA-256 of the canonical request. */
  readonly requestHash: Buffer;
  /** JSON text of the response that a replay gets. */
  readonly answer: string;
}

/** A task in the form in which a worker receives it after the start of an attempt. */
export interface StartedTask extends Omit<NewTask, 'client' | 'runAtMs'> {
  /** Milliseconds since 1970; see `Position`. */
  readonly placeMs: number;
  /** Number of this execution, counted from 1. */
  readonly attempt: number;
  /** Number of earlier executions that failed. It counts against `maxRetries`. */
  readonly failures: number;
  /** Number of earlier executions that were lost, for example with their worker. It counts against the lost cap. */
  readonly lost: number;
}

/** Returns the fencing token of an attempt. It never repeats, because the number of the attempt only grows. */
export function attemptToken(task: { readonly id: string; readonly attempt: number }): string {
  return `${task.id}:${task.attempt}`;
}
