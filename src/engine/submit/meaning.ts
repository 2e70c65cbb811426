import { DEFAULT_EXECUTION_SECONDS } from '../../actions/simulate-payload.ts';
import { DEFAULT_BACKOFF, type BackoffPolicy } from '../../core/retry-policy.ts';
import { executedActionOf, type TaskRequest } from './task-request.ts';

/**
 * Returns a normal form of a request without its payload: defaults are filled in, times and durations are numbers.
 * The hash of an idempotency key is made from it, so that a repeated request may be written in another way.
 */
export function meaningOf(request: TaskRequest): Readonly<Record<string, unknown>> {
  const {
    queue,
    priority,
    group,
    execution_time,
    run_at,
    delay = 0,
    max_retries,
    backoff,
    timeout,
    metadata,
  } = request;
  return {
    queue,
    action: executedActionOf(request),
    priority,
    ...(group === undefined ? {} : { group }),
    executionTimeSeconds: execution_time ?? DEFAULT_EXECUTION_SECONDS,
    ...(run_at === undefined ? { delayMs: milliseconds(delay) } : { runAtMs: Date.parse(run_at) }),
    maxRetries: max_retries,
    backoff: backoff === undefined ? DEFAULT_BACKOFF : backoffPolicy(backoff),
    timeoutMs: timeoutMs(timeout),
    metadata: metadata ?? {},
  };
}

export function backoffPolicy({ base, factor, max, jitter }: NonNullable<TaskRequest['backoff']>): BackoffPolicy {
  return { baseMs: milliseconds(base), factor, maxMs: milliseconds(max), jitter };
}

export function timeoutMs(seconds: number): number {
  return Math.max(1, milliseconds(seconds));
}

export function milliseconds(seconds: number): number {
  return Math.round(seconds * 1_000);
}
