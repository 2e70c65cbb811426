import type { Logger } from 'pino';
import type { StartedTask } from '../core/task.ts';

export interface HandlerContext {
  readonly task: StartedTask;
  /** The task's payload, parsed. */
  readonly payload: unknown;
  /**
   * Fires when the time limit is over, the task is cancelled, the worker lost
   * the task to another, or the worker's grace period has ended; `reason` is an
   * `AttemptAbortedError` whose code says which.
   */
  readonly signal: AbortSignal;
  /** Writes lines that carry the task's and the trace's id. */
  readonly log: Logger;
  /** Reports how far the work is; any JSON value, the latest one is kept with the task within seconds. */
  progress(value: unknown): void;
  /** `<task id>:<attempt>`, never repeated: the token with which side effects can be fenced. */
  readonly attemptToken: string;
}

/**
 * Executes one attempt. What it returns is kept in the execution log if it can
 * be written as JSON. Throwing `FinalError` ends the task as FAILED at once;
 * anything else is retried while retries are left.
 */
export type Handler = (context: HandlerContext) => unknown;
