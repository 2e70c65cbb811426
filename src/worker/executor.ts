import { AsyncLocalStorage } from 'node:async_hooks';
import { TIMER_MAX_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import type { StartedTask } from '../core/task.ts';
import { abortError, Attempt } from '../engine/attempts/attempt.ts';
import type { HandlerContext } from '../engine/attempts/handler.ts';
import { judgeFailure, judgeResult, RELEASED, type Verdict } from '../engine/attempts/judge.ts';
import { outcomeOf } from '../engine/attempts/open-outcome.ts';
import type { Settler } from '../engine/attempts/settler.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import type { HandlerRegistry } from '../handlers/registry.ts';
import { keptJson } from '../json/kept-json.ts';
import type { Logger } from '../telemetry/logger.ts';

/** Runs started attempts and passes on their outcomes. */
export interface Executor {
  /** Takes a slot and runs the handler, without waiting for it. */
  execute(task: StartedTask, waitedMs: number): void;
  /** Releases a running attempt without waiting for its handler. */
  release(attempt: Attempt): void;
}

export interface ExecutorParts {
  readonly slots: Slots;
  readonly settler: Pick<Settler, 'add'>;
  readonly handlers: Pick<HandlerRegistry, 'resolve'>;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** The attempt whose handler is running. It identifies the task of an error that a handler did not catch. */
export const runningAttempt = new AsyncLocalStorage<Attempt>();

const PROGRESS_MAX_BYTES = 16_384;

export function createExecutor(parts: ExecutorParts): Executor {
  const { slots, settler, handlers, log, clock = systemClock, random = Math.random } = parts;

  /** Settles an attempt once. A later outcome, from a handler that overran its time limit, is ignored. */
  const settle = (attempt: Attempt, verdict: Verdict): void => {
    if (attempt.settled) return;
    attempt.settled = true;
    settler.add(outcomeOf(attempt, verdict, clock.monotonicMs()));
  };

  const run = async (attempt: Attempt): Promise<void> => {
    const stopTimer = atDeadline(attempt, clock, () => {
      attempt.abort('timed_out');
      settle(attempt, judgeFailure(abortError('timed_out', attempt.task), attempt.task, 'timed_out', random));
    });
    const verdict = await callHandler(attempt, random);
    stopTimer();
    if (attempt.settled) {
      const overrunMs = Math.max(0, Math.round(clock.monotonicMs() - attempt.deadlineMs));
      attempt.log.warn(
        { verb: verdict.outcome.verb, overrun_ms: overrunMs },
        'handler returned after its attempt was settled',
      );
    }
    settle(attempt, verdict);
    slots.remove(attempt);
  };

  return {
    execute(task, waitedMs) {
      const { name: action, handler } = handlers.resolve(task.action);
      const attempt = new Attempt({
        task,
        action,
        handler,
        waitedMs,
        startedAtMs: clock.monotonicMs(),
        log,
      });
      slots.add(attempt);
      void run(attempt);
    },
    release: (attempt) => settle(attempt, RELEASED),
  };
}

/** Calls the handler. The handler may throw at once, return no promise, or throw a value that is no error. */
async function callHandler(attempt: Attempt, random: () => number): Promise<Verdict> {
  const { task, handler } = attempt;
  try {
    const context = contextOf(attempt, JSON.parse(task.payload));
    return judgeResult(await runningAttempt.run(attempt, async () => handler(context)));
  } catch (error) {
    return judgeFailure(error, task, attempt.abortCode, random);
  }
}

function contextOf(attempt: Attempt, payload: unknown): HandlerContext {
  return {
    task: attempt.task,
    payload,
    get signal() {
      return attempt.signal;
    },
    get log() {
      return attempt.log;
    },
    progress: (value) => recordProgress(attempt, value),
    attemptToken: attempt.token,
  };
}

/**
 * Keeps the latest progress until the next look at the holdings or the outcome writes it, whichever comes first. A value
 * that cannot be kept must not fail the attempt.
 */
function recordProgress(attempt: Attempt, value: unknown): void {
  if (attempt.settled) return;
  const kept = keptJson('the progress', value ?? null, PROGRESS_MAX_BYTES);
  if ('json' in kept) attempt.progress = kept.json;
  else attempt.log.warn({ cause: kept.message }, 'progress cannot be kept and was left out');
}

/** Calls `onTime` at the attempt's deadline. @returns a function that stops the timer */
function atDeadline(attempt: Attempt, clock: Clock, onTime: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    const leftMs = attempt.deadlineMs - clock.monotonicMs();
    timer = setTimeout(() => (leftMs > TIMER_MAX_MS ? arm() : onTime()), Math.min(TIMER_MAX_MS, Math.max(0, leftMs)));
  };
  arm();
  return () => clearTimeout(timer);
}
