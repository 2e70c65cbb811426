import type { Logger } from 'pino';
import type { StartedTask } from '../core/task.ts';

export interface HandlerContext {
  /** What the worker knows of the task; frozen with all that is in it, so that writing to it throws. */
  readonly task: StartedTask;
  /** The task's payload, parsed anew for each attempt: the handler's own, which it may change. */
  readonly payload: unknown;
  /**
   * Fires when the time limit is over, the task is cancelled, the worker lost
   * the task to another, or the worker's grace period has ended; `reason` is an
   * `AttemptAbortedError` whose code says which.
   */
  readonly signal: AbortSignal;
  /** Writes lines that carry the task's and the trace's id. */
  readonly log: Logger;
  /**
   * Reports how far the work is: any JSON value of at most 16 KiB and 64 levels of nesting. The latest one is kept with
   * the task within seconds, and at the end of the attempt with its outcome. One that cannot be kept is left out, with a line in the log.
   */
  progress(value: unknown): void;
  /** `<task id>:<attempt>`, never repeated: the token with which side effects can be fenced. */
  readonly attemptToken: string;
}

/**
 * Executes one attempt. What it returns is kept in the execution log: any JSON value of at most 256 KiB and
 * 64 levels of nesting; with anything else the task ends as FAILED, since a retry would only repeat the work.
 * Throwing a `FinalError`, or a subclass of it, ends the task as FAILED at once; anything else is retried while
 * retries are left.
 */
export type Handler = (context: HandlerContext) => unknown;
