import type { Logger } from 'pino';
import type { StartedTask } from '../../core/task.ts';

/** Take what you need out of it by name: a copy of it (`{ ...context }`) has no `signal` and no `log`. */
export interface HandlerContext {
  /** The task as the worker received it. It is deeply frozen, so that writing to it throws. */
  readonly task: StartedTask;
  /** The task's payload, parsed again for each attempt. The handler may change it. */
  readonly payload: unknown;
  /**
   * Fires when the time limit is over, the task is cancelled, the worker has lost
   * the task to another worker, or the worker's grace period has ended. Its `reason`
   * is an `AttemptAbortedError` whose code names the cause.
   */
  readonly signal: AbortSignal;
  /** Logs lines with the ids of the task and the trace. */
  readonly log: Logger;
  /**
   * Reports progress: any JSON value of at most 16 KiB and 64 levels of nesting. The latest value is stored with the
   * task within seconds, and at the end of the attempt with its outcome. A value that cannot be stored is left out and
   * logged.
   */
  progress(value: unknown): void;
  /** `<task id>:<attempt>`, a token for fencing side effects. It never repeats. */
  readonly attemptToken: string;
}

/**
 * Executes one attempt. The return value is kept in the execution log. It can be any JSON value of at most 256 KiB and
 * 64 levels of nesting; with any other value the task ends as FAILED, because a retry would only repeat the work.
 * A thrown `FinalError`, or a subclass of it, ends the task as FAILED at once. After any other thrown value the task is
 * retried while retries are left.
 */
export type Handler = (context: HandlerContext) => unknown;
