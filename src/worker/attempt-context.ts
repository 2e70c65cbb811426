import type { StartedTask } from '../core/task.ts';
import type { Attempt } from '../engine/attempts/attempt.ts';
import type { HandlerContext } from '../engine/attempts/handler.ts';
import { keptJson } from '../json/kept-json.ts';
import type { Logger } from '../telemetry/logger.ts';

const PROGRESS_MAX_BYTES = 16_384;

/**
 * What a handler gets. This is a class because an object literal with accessors costs the worker almost a microsecond a
 * task.
 */
export class AttemptContext implements HandlerContext {
  readonly task: StartedTask;
  readonly payload: unknown;
  readonly attemptToken: string;
  /** Not a method, because handlers take it out of the context. */
  readonly progress: (value: unknown) => void;
  readonly #attempt: Attempt;

  constructor(attempt: Attempt) {
    this.task = attempt.task;
    this.payload = JSON.parse(attempt.task.payload);
    this.attemptToken = attempt.token;
    this.progress = (value) => recordProgress(attempt, value);
    this.#attempt = attempt;
  }

  get signal(): AbortSignal {
    return this.#attempt.signal;
  }

  get log(): Logger {
    return this.#attempt.log;
  }
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
