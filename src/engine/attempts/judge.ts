import { RETRY_AFTER_MAX_MS } from '../../config/timings.ts';
import { failureKindOf, type AbortCode } from '../../core/errors.ts';
import { RESULT_MAX_BYTES, type Outcome } from '../../core/outcome.ts';
import { recordError } from '../../core/recorded-error.ts';
import { DEFAULT_BACKOFF, hasRetriesLeft, retryDelayMs } from '../../core/retry-policy.ts';
import type { StartedTask } from '../../core/task.ts';
import { keptJson } from '../../json/kept-json.ts';
import { resultOf } from './attempt-result.ts';

/** The outcome of an attempt, and the reason for the dead letter if the task failed finally. */
export interface Verdict {
  readonly outcome: Outcome;
  readonly reason: 'retries_exhausted' | 'final_error' | null;
}

/** A completion without a result, which most handlers of busy queues have. */
const COMPLETED: Verdict = { outcome: { verb: 'complete', result: null }, reason: null };

export const RELEASED: Verdict = { outcome: { verb: 'release' }, reason: null };

/**
 * Judges an attempt whose handler returned. A result that cannot be stored fails the task without a retry: a retry
 * would repeat the work and its side effects, and end in the same way.
 */
export function judgeResult(result: unknown): Verdict {
  if (result === undefined) return COMPLETED;
  const kept = keptJson('the result', result, RESULT_MAX_BYTES);
  if ('json' in kept) return { outcome: { verb: 'complete', result: kept.json }, reason: null };
  const error = { name: 'ResultRefusedError', code: `result_${kept.notKept}`, message: kept.message };
  return { outcome: { verb: 'fail', error, result: null }, reason: 'final_error' };
}

/**
 * Judges an attempt whose handler threw, or whose time limit ended before the handler returned.
 * @param random `Math.random` or a replacement
 */
export function judgeFailure(
  thrown: unknown,
  task: StartedTask,
  abortCode: AbortCode | null,
  random: () => number,
): Verdict {
  const final = failureKindOf(thrown) === 'final';
  // A handler that fails because this worker told it to stop is not charged with a failure.
  // If the task no longer belongs to this worker, PostgreSQL refuses any outcome, so the release does no harm.
  if (!final && (abortCode === 'shutting_down' || abortCode === 'ownership_lost')) return RELEASED;

  const kept = { error: recordError(thrown), result: resultOfFailure(thrown) };
  const failures = task.failures + 1;
  if (final) return { outcome: { verb: 'fail', ...kept }, reason: 'final_error' };
  if (!hasRetriesLeft(failures, task.maxRetries)) {
    return { outcome: { verb: 'fail', ...kept }, reason: 'retries_exhausted' };
  }
  const backoffMs = retryDelayMs(task.backoff ?? DEFAULT_BACKOFF, failures, random);
  const delayMs = Math.max(backoffMs, retryAfterOf(thrown));
  return { outcome: { verb: 'retry', delayMs, ...kept }, reason: null };
}

/** Returns the result that a failure carries, or a note if the result cannot be stored: the failure still counts. */
function resultOfFailure(thrown: unknown): string | null {
  const kept = keptJson('the result', resultOf(thrown), RESULT_MAX_BYTES);
  return 'json' in kept ? kept.json : JSON.stringify({ not_kept: kept.message });
}

/** Returns the milliseconds that the error asks to wait before the next attempt; 0 if it does not say. */
function retryAfterOf(thrown: unknown): number {
  const ms = readProperty(thrown, 'retryAfterMs');
  return typeof ms === 'number' && ms >= 0 ? Math.min(ms, RETRY_AFTER_MAX_MS) : 0;
}

function readProperty(thrown: unknown, name: string): unknown {
  try {
    return Error.isError(thrown) ? (thrown as unknown as Record<string, unknown>)[name] : undefined;
  } catch {
    // The property may be a getter that throws. That must not break the worker.
    return undefined;
  }
}
