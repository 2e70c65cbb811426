import { AttemptAbortedError, type AbortCode } from '../core/errors.ts';
import { attemptToken, type StartedTask } from '../core/task.ts';
import type { Handler } from '../handlers/handler.ts';
import type { Logger } from '../telemetry/logger.ts';

/** One execution of a task in this worker, from its start until its handler has really returned. */
export interface Attempt {
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
  /** Made when it is asked for: most handlers look at neither signal nor log. */
  readonly signal: AbortSignal;
  /** Its lines carry the task's and the trace's id. Made when it is asked for. */
  readonly log: Logger;
  /** Why the signal fired; null while it has not. */
  readonly abortCode: AbortCode | null;
  /** True once its outcome was handed to the settler; what the handler does afterwards changes nothing. */
  settled: boolean;
  /** JSON text of the latest progress that was not written yet. */
  progress: string | null;
  /** Fires the handler's signal; the first reason stands. */
  abort(code: AbortCode): void;
}

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

export function createAttempt(parts: AttemptParts): Attempt {
  return new RunningAttempt(parts);
}

/** A class, since thousands a second are made: as closures, their accessors were a part of the garbage that a worker collects. */
class RunningAttempt implements Attempt {
  readonly task: StartedTask;
  readonly token: string;
  readonly action: string;
  readonly handler: Handler;
  readonly waitedMs: number;
  readonly startedAtMs: number;
  readonly deadlineMs: number;
  settled = false;
  progress: string | null = null;
  abortCode: AbortCode | null = null;
  private readonly workerLog: Logger;
  private controller: AbortController | null = null;
  private ownLog: Logger | null = null;

  constructor({ task, action, handler, waitedMs, startedAtMs, log }: AttemptParts) {
    this.task = task;
    this.token = attemptToken(task);
    this.action = action;
    this.handler = handler;
    this.waitedMs = waitedMs;
    this.startedAtMs = startedAtMs;
    this.deadlineMs = startedAtMs + task.timeoutMs;
    this.workerLog = log;
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    const { signal } = this.controller;
    if (this.abortCode !== null && !signal.aborted) this.controller.abort(abortError(this.abortCode, this.task));
    return signal;
  }

  get log(): Logger {
    const { traceId, id, attempt } = this.task;
    this.ownLog ??= this.workerLog.child({ trace_id: traceId, task_id: id, attempt });
    return this.ownLog;
  }

  abort(code: AbortCode): void {
    if (this.abortCode !== null) return;
    this.abortCode = code;
    this.controller?.abort(abortError(code, this.task));
  }
}

export function abortError(code: AbortCode, task: StartedTask): AttemptAbortedError {
  const limit = code === 'timed_out' ? ` (${task.timeoutMs} ms)` : '';
  return new AttemptAbortedError(code, ABORT_MESSAGES[code] + limit);
}
