import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { systemClock, type Clock } from '../core/clock.ts';
import type { StartedTask } from '../core/task.ts';
import { abortError, Attempt } from '../engine/attempts/attempt.ts';
import { judgeFailure, judgeResult, RELEASED, type Verdict } from '../engine/attempts/judge.ts';
import { outcomeOf } from '../engine/attempts/open-outcome.ts';
import type { Settler } from '../engine/attempts/settler.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import type { HandlerRegistry } from '../handlers/registry.ts';
import type { Logger } from '../telemetry/logger.ts';
import { AttemptContext } from './attempt-context.ts';
import { createTimeLimits } from './time-limits.ts';

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

/** The context outside of all handlers. */
const outside = new AsyncResource('executor');

export function createExecutor(parts: ExecutorParts): Executor {
  const { slots, settler, handlers, log, clock = systemClock, random = Math.random } = parts;

  /** Settles an attempt once. A later outcome, from a handler that overran its time limit, is ignored. */
  const settle = (attempt: Attempt, verdict: Verdict): void => {
    if (attempt.settled) return;
    attempt.settled = true;
    settler.add(outcomeOf(attempt, verdict, clock.monotonicMs()));
  };

  const limits = createTimeLimits(slots, clock, (attempt) => {
    attempt.abort('timed_out');
    settle(attempt, judgeFailure(abortError('timed_out', attempt.task), attempt.task, 'timed_out', random));
  });

  /** Ends an attempt whose handler has returned. */
  const end = (attempt: Attempt, verdict: Verdict): void => {
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

  const fail = (attempt: Attempt, thrown: unknown): void =>
    end(attempt, judgeFailure(thrown, attempt.task, attempt.abortCode, random));

  const endWhenReturned = async (attempt: Attempt, returned: unknown): Promise<void> => {
    let verdict: Verdict;
    try {
      verdict = judgeResult(await returned);
    } catch (error) {
      return fail(attempt, error);
    }
    end(attempt, verdict);
  };

  /** Calls the handler. The handler may throw at once, return no promise, or throw a value that is no error. */
  const run = (attempt: Attempt): void => {
    let returned: unknown;
    try {
      returned = outside.runInAsyncScope(call, null, attempt);
    } catch (error) {
      return fail(attempt, error);
    }
    if (isPlain(returned)) return end(attempt, judgeResult(returned));
    limits.watch(attempt);
    void endWhenReturned(attempt, returned);
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
      run(attempt);
    },
    release: (attempt) => settle(attempt, RELEASED),
  };
}

/**
 * Calls the handler inside of a context of its own. `AsyncLocalStorage.run` would do the same for more than three times
 * the cost, because it makes another context to come back. Here, `outside` comes back.
 */
function call(attempt: Attempt): unknown {
  runningAttempt.enterWith(attempt);
  return attempt.handler(new AttemptContext(attempt));
}

/** Whether a handler's return value is certainly no promise, so that nothing has to be awaited. */
function isPlain(returned: unknown): boolean {
  return returned === null || (typeof returned !== 'object' && typeof returned !== 'function');
}
