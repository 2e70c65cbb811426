import { failureKindOf, type AbortCode } from '../../core/errors.ts';
import { recordError } from '../../core/recorded-error.ts';
import { RESULT_MAX_BYTES, type Outcome } from '../../core/outcome.ts';
import { DEFAULT_BACKOFF, hasRetriesLeft, retryDelayMs } from '../../core/retry-policy.ts';
import type { StartedTask } from '../../core/task.ts';
import { keptJson } from '../../json/kept-json.ts';
import { RETRY_AFTER_MAX_MS } from '../../config/timings.ts';
import { resultOf } from '../../handlers/attempt-result.ts';

/** What an attempt came to, and why its task is buried if it failed for good. */
export interface Verdict {
  readonly outcome: Outcome;
  readonly reason: 'retries_exhausted' | 'final_error' | null;
}

export const RELEASED: Verdict = { outcome: { verb: 'release' }, reason: null };

/**
 * A handler returned. A result that cannot be kept fails the task for good: a
 * retry would repeat the work and its side effects, only to end in the same way.
 */
export function judgeResult(result: unknown): Verdict {
  const kept = keptJson('the result', result, RESULT_MAX_BYTES);
  if ('json' in kept) return { outcome: { verb: 'complete', result: kept.json }, reason: null };
  const error = { name: 'ResultRefusedError', code: `result_${kept.notKept}`, message: kept.message };
  return { outcome: { verb: 'fail', error, result: null }, reason: 'final_error' };
}

/**
 * A handler threw, or the time limit was over before it returned.
 * @param random as `Math.random`
 */
export function judgeFailure(
  thrown: unknown,
  task: StartedTask,
  abortCode: AbortCode | null,
  random: () => number,
): Verdict {
  const final = failureKindOf(thrown) === 'final';
  // What fails because we told it to stop is charged to nobody. Of a lost task PostgreSQL refuses this in any case.
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

/** The failure is what counts: a result of it that cannot be kept gives way to a note that says so. */
function resultOfFailure(thrown: unknown): string | null {
  const kept = keptJson('the result', resultOf(thrown), RESULT_MAX_BYTES);
  return 'json' in kept ? kept.json : JSON.stringify({ not_kept: kept.message });
}

/** Before this the next attempt makes no sense, whatever the backoff says; 0 where nothing is known. */
function retryAfterOf(thrown: unknown): number {
  const ms = readProperty(thrown, 'retryAfterMs');
  return typeof ms === 'number' && ms >= 0 ? Math.min(ms, RETRY_AFTER_MAX_MS) : 0;
}

function readProperty(thrown: unknown, name: string): unknown {
  try {
    return Error.isError(thrown) ? (thrown as unknown as Record<string, unknown>)[name] : undefined;
  } catch {
    // A hostile getter: its failure must not become ours.
    return undefined;
  }
}
