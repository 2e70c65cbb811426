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
  const { task, startedAtMs, log: workerLog, ...rest } = parts;
  let controller: AbortController | null = null;
  let log: Logger | null = null;
  let abortCode: AbortCode | null = null;
  return {
    ...rest,
    task,
    startedAtMs,
    token: attemptToken(task),
    deadlineMs: startedAtMs + task.timeoutMs,
    get signal() {
      controller ??= new AbortController();
      if (abortCode !== null && !controller.signal.aborted) controller.abort(abortError(abortCode, task));
      return controller.signal;
    },
    get log() {
      log ??= workerLog.child({ trace_id: task.traceId, task_id: task.id, attempt: task.attempt });
      return log;
    },
    settled: false,
    progress: null,
    get abortCode() {
      return abortCode;
    },
    abort(code) {
      if (abortCode !== null) return;
      abortCode = code;
      controller?.abort(abortError(code, task));
    },
  };
}

export function abortError(code: AbortCode, task: StartedTask): AttemptAbortedError {
  const limit = code === 'timed_out' ? ` (${task.timeoutMs} ms)` : '';
  return new AttemptAbortedError(code, ABORT_MESSAGES[code] + limit);
}
