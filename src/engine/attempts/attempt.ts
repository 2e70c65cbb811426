import { AttemptAbortedError, type AbortCode } from '../../core/errors.ts';
import { attemptToken, type StartedTask } from '../../core/task.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Handler } from './handler.ts';

export interface AttemptParts {
  readonly task: StartedTask;
  readonly action: string;
  readonly handler: Handler;
  readonly waitedMs: number;
  readonly startedAtMs: number;
  /** The worker's logger. */
  readonly log: Logger;
}

const ABORT_MESSAGES: Readonly<Record<AbortCode, string>> = {
  timed_out: 'the time limit is over',
  cancelled: 'the task was cancelled',
  ownership_lost: 'the task no longer belongs to this worker',
  shutting_down: 'the worker is shutting down',
};

/**
 * One execution of a task in this worker, from its start until its handler has really returned.
 * This is a class because a worker creates thousands of attempts per second. As closures, their accessors were a part
 * of the garbage that the worker had to collect.
 */
export class Attempt {
  /** Deeply frozen, so that handlers cannot change it. */
  readonly task: StartedTask;
  /** `<task id>:<attempt>`; the key of the attempt in every collection of this worker. */
  readonly token: string;
  /** The action whose handler runs the task. */
  readonly action: string;
  readonly handler: Handler;
  /** Milliseconds from the time the task was due to its start. */
  readonly waitedMs: number;
  /** Monotonic milliseconds. */
  readonly startedAtMs: number;
  /** Monotonic milliseconds at which the time limit ends. */
  readonly deadlineMs: number;
  /** True once the settler has the outcome. The handler cannot change the outcome after that. */
  settled = false;
  /** Place in the list of running attempts; null before the handler is called and after it has returned. */
  slot: number | null = null;
  /** JSON text of the latest progress, until it is known to be written. */
  progress: string | null = null;
  private readonly workerLog: Logger;
  private ownLog: Logger | null = null;
  private controller: AbortController | null = null;
  private firstAbort: AbortCode | null = null;

  constructor({ task, action, handler, waitedMs, startedAtMs, log }: AttemptParts) {
    // Handlers get the task. A change that they make to it must not reach PostgreSQL.
    Object.freeze(task.metadata);
    Object.freeze(task.backoff);
    this.task = Object.freeze(task);
    this.token = attemptToken(task);
    this.action = action;
    this.handler = handler;
    this.waitedMs = waitedMs;
    this.startedAtMs = startedAtMs;
    this.deadlineMs = startedAtMs + task.timeoutMs;
    this.workerLog = log;
  }

  /** Why the signal fired; null if it has not fired. */
  get abortCode(): AbortCode | null {
    return this.firstAbort;
  }

  /** Created on first use, because most handlers use neither the signal nor the log. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    const { signal } = this.controller;
    if (this.firstAbort !== null && !signal.aborted) this.controller.abort(abortError(this.firstAbort, this.task));
    return signal;
  }

  /** A logger whose lines carry the task's and the trace's id. Created on first use. */
  get log(): Logger {
    const { traceId, id, attempt } = this.task;
    this.ownLog ??= this.workerLog.child({ trace_id: traceId, task_id: id, attempt });
    return this.ownLog;
  }

  /** Fires the handler's signal. Only the first reason counts. */
  abort(code: AbortCode): void {
    if (this.firstAbort !== null) return;
    this.firstAbort = code;
    this.controller?.abort(abortError(code, this.task));
  }
}

export function abortError(code: AbortCode, task: StartedTask): AttemptAbortedError {
  const limit = code === 'timed_out' ? ` (${task.timeoutMs} ms)` : '';
  return new AttemptAbortedError(code, ABORT_MESSAGES[code] + limit);
}
