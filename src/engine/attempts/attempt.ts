import { AttemptAbortedError, type AbortCode } from '../../core/errors.ts';
import { attemptToken, type StartedTask } from '../../core/task.ts';
import type { Handler } from '../../handlers/handler.ts';
import type { Logger } from '../../telemetry/logger.ts';

export interface AttemptParts {
  readonly task: StartedTask;
  readonly action: string;
  readonly handler: Handler;
  readonly waitedMs: number;
  readonly startedAtMs: number;
  /** The worker's. */
  readonly log: Logger;
}

const ABORT_MESSAGES: Readonly<Record<AbortCode, string>> = {
  timed_out: 'the time limit is over',
  cancelled: 'the task was cancelled',
  ownership_lost: 'the task no longer belongs to this worker',
  shutting_down: 'the worker shuts down',
};

/**
 * One execution of a task in this worker, from its start until its handler has really returned. A class, since
 * thousands a second are made: as closures, their accessors were a part of the garbage that a worker collects.
 */
export class Attempt {
  /** Frozen, with all that is in it. */
  readonly task: StartedTask;
  /** `<task id>:<attempt>`; names the attempt in every set of this worker. */
  readonly token: string;
  /** The action whose handler runs it. */
  readonly action: string;
  readonly handler: Handler;
  /** From the time the task was due to its start. */
  readonly waitedMs: number;
  /** Monotonic milliseconds. */
  readonly startedAtMs: number;
  /** Monotonic milliseconds at which the time limit is over. */
  readonly deadlineMs: number;
  /** True once its outcome was handed to the settler; what the handler does afterwards changes nothing. */
  settled = false;
  /** JSON text of the latest progress that is not known to be written. */
  progress: string | null = null;
  private readonly workerLog: Logger;
  private ownLog: Logger | null = null;
  private controller: AbortController | null = null;
  private firstAbort: AbortCode | null = null;

  constructor({ task, action, handler, waitedMs, startedAtMs, log }: AttemptParts) {
    // Handlers get it: what they write to it must not become what this worker tells PostgreSQL.
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

  /** Why the signal fired; null while it has not. */
  get abortCode(): AbortCode | null {
    return this.firstAbort;
  }

  /** Made when it is asked for: most handlers look at neither signal nor log. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    const { signal } = this.controller;
    if (this.firstAbort !== null && !signal.aborted) this.controller.abort(abortError(this.firstAbort, this.task));
    return signal;
  }

  /** Its lines carry the task's and the trace's id. Made when it is asked for. */
  get log(): Logger {
    const { traceId, id, attempt } = this.task;
    this.ownLog ??= this.workerLog.child({ trace_id: traceId, task_id: id, attempt });
    return this.ownLog;
  }

  /** Fires the handler's signal; the first reason stands. */
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
