import { setTimeout as delay } from 'node:timers/promises';
import { DEFAULT_EXECUTION_SECONDS, simulatePayload } from '../actions/simulate-payload.ts';
import { TIMER_MAX_MS } from '../config/timings.ts';
import { FinalError, RetryableError } from '../core/errors.ts';
import type { Handler } from '../engine/attempts/handler.ts';
import { parsePayload } from './payload.ts';

type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

/**
 * The handler `simulate`: sleeps for the task's execution time, then succeeds or
 * fails, depending on `payload.simulate`.
 * @throws FinalError `invalid_payload` before it sleeps, `simulated_failure` after it
 * @throws RetryableError `simulated_failure`
 * @throws the signal's reason when it fires
 */
export function createSimulate({ sleep = sleepFor }: { readonly sleep?: Sleep } = {}): Handler {
  return async ({ task, payload, signal }) => {
    const { simulate: wish = {} } = parsePayload(simulatePayload, payload);
    const seconds = task.executionTimeSeconds ?? DEFAULT_EXECUTION_SECONDS;
    await sleep(Math.min(seconds * 1_000, TIMER_MAX_MS), signal);

    const { fail, fail_times: times = 0, message } = wish;
    const code = 'simulated_failure';
    if (fail === 'final') throw new FinalError(message ?? 'simulated failure without retries', { code });
    if (fail === 'always') throw new RetryableError(message ?? 'simulated failure of every attempt', { code });
    // Count failures, not attempts, because lost and released runs must not use up the failures.
    if (task.failures < times) {
      throw new RetryableError(message ?? `simulated failure ${task.failures + 1} of ${times}`, { code });
    }
    // The result shows clearly that the task did nothing.
    return { simulated: true, simulated_seconds: seconds };
  };
}

async function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
