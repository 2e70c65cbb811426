import {
  LAST_SETTLE_MS,
  SETTLE_GIVE_UP_MS,
  SETTLE_LOCKED_RETRY_MS,
  SETTLE_LOCKED_WARN_MS,
  STORE_RETRY_MAX_MS,
  STORE_RETRY_MIN_MS,
} from '../../config/timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { SchedulerError } from '../../core/errors.ts';
import { createChanges } from '../../lifecycle/changes.ts';
import { pause } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { SettledOutcome } from './aftermath.ts';
import type { AttemptStore } from './attempt-store.ts';
import { logFieldsOf, type OpenOutcome } from './open-outcome.ts';
import { settleBatch, type RefusedOutcome, type SettleBatchParts } from './settle-batch.ts';

/**
 * Writes outcomes to PostgreSQL; no outcome is written in any other way. An idle settler writes an outcome at once.
 * Under load, outcomes that arrive while two statements are running share the next statement.
 */
export interface Settler extends Service {
  /** Takes an outcome to write. A second outcome of the same attempt is ignored. */
  add(open: OpenOutcome): void;
  /** Whether an outcome of this attempt waits or is being written. */
  has(token: string): boolean;
  /**
   * Outcomes that PostgreSQL did not accept, by token, until they are forgotten. Most of them belong to attempts that
   * this worker no longer holds. The holdings find out which ones it still holds.
   */
  readonly refused: ReadonlyMap<string, RefusedOutcome>;
  forgetRefused(token: string): void;
  /** Resolves with true when no outcome is open, or with false after `ms`. */
  drain(ms: number): Promise<boolean>;
  /**
   * Resolves with true when there is room for more outcomes, or with false after `ms` or when the signal fires.
   * Without this limit, results of handlers could fill the memory while statements hang.
   */
  waitForRoom(ms: number, signal: AbortSignal): Promise<boolean>;
  /** Rejects when outcomes could not be written for too long. The process has to end then. */
  readonly failed: Promise<never>;
}

export interface SettlerOptions {
  readonly workerId: string;
  readonly store: Pick<AttemptStore, 'settle'>;
  /** Called with every batch that PostgreSQL has judged, to update Redis, metrics and log. Must not throw. */
  readonly onSettled: (settled: readonly SettledOutcome[]) => void;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly giveUpMs?: number | undefined;
  /** Milliseconds that `stop()` waits for open outcomes. */
  readonly lastMs?: number;
  readonly retryMs?: { readonly min: number; readonly max: number };
}

const STATEMENTS_MAX = 2;
const BATCH_MAX = 400;

/** Claiming stops at this many open outcomes. Load alone does not reach it, because it is several statements' worth. */
const OPEN_MAX = 10 * BATCH_MAX;

/** Most characters of results in one statement, unless a single outcome is longer. */
const BATCH_LENGTH_MAX = 4_194_304;

/** Claiming stops beyond this many characters: a result may be 256 KiB, and thousands of them would fill the memory. */
const OPEN_LENGTH_MAX = 4 * BATCH_LENGTH_MAX;

/** The settler gave up because PostgreSQL did not accept outcomes for too long. */
export class SettleGivenUpError extends SchedulerError {
  constructor(outcomes: number, afterMs: number, cause: unknown) {
    super('settle_given_up', `${outcomes} outcomes could not be written for ${Math.round(afterMs / 1_000)} s`, {
      cause,
    });
  }
}

/** Outcomes were still open when the worker had to stop. */
class OutcomesLostError extends SchedulerError {
  constructor(outcomes: number) {
    const message = `${outcomes} outcomes could not be written before the worker stopped; their tasks will run again`;
    super('outcomes_lost', message, { retryable: true });
  }
}

export function createSettler(options: SettlerOptions): Settler {
  const { log, lastMs = LAST_SETTLE_MS } = options;
  const failure = Promise.withResolvers<never>();
  // The process listens to this promise. Without a listener a rejection must not count as unhandled.
  failure.promise.catch(() => {});
  const ended = new AbortController();
  const changes = createChanges();
  /** The tokens of the outcomes that wait or are in a statement. */
  const open = new Set<string>();
  /** Lengths of those outcomes that have a result. An outcome that is replaced later still counts with this length. */
  const lengths = new Map<string, number>();
  let openLength = 0;
  const refused = new Map<string, RefusedOutcome>();

  const onClosed = (outcomes: readonly OpenOutcome[]): void => {
    for (const { token } of outcomes) {
      open.delete(token);
      if (lengths.size === 0) continue;
      openLength -= lengths.get(token) ?? 0;
      lengths.delete(token);
    }
    changes.tell();
  };

  const onGivenUp = (afterMs: number, error: unknown): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    log.fatal(
      { err: error, outcomes: open.size },
      'giving up on outcomes that could not be written, their tasks will run again',
    );
    failure.reject(new SettleGivenUpError(open.size, afterMs, error));
    changes.tell();
  };

  const lanes = createLanes({
    retryMs: { min: STORE_RETRY_MIN_MS, max: STORE_RETRY_MAX_MS },
    clock: systemClock,
    ...options,
    giveUpMs: options.giveUpMs ?? SETTLE_GIVE_UP_MS,
    ended: ended.signal,
    onRefused: (outcome) => refused.set(outcome.open.token, outcome),
    onClosed,
    onGivenUp,
  });

  /**
   * Resolves with true when at most `most` outcomes are open, with at most `mostLength` characters together. Resolves
   * with false when the time is over, the signal fires, or the settler has given up.
   */
  const untilOpen = async (most: number, mostLength: number, ms: number, signal?: AbortSignal): Promise<boolean> => {
    const isSo = (): boolean => open.size <= most && openLength <= mostLength;
    await changes.until(() => isSo() || ended.signal.aborted, ms, signal);
    return isSo();
  };

  return {
    name: 'settler',
    failed: failure.promise,
    add(outcome) {
      if (ended.signal.aborted) return;
      const before = open.size;
      if (open.add(outcome.token).size === before) return;
      const length = lengthOf(outcome);
      if (length > 0) lengths.set(outcome.token, length);
      openLength += length;
      lanes.add(outcome);
    },
    has: (token) => open.has(token),
    refused,
    forgetRefused: (token) => void refused.delete(token),
    drain: (ms) => untilOpen(0, 0, ms),
    waitForRoom: (ms, signal) => untilOpen(OPEN_MAX - 1, OPEN_LENGTH_MAX, ms, signal),
    async start() {},
    async stop() {
      const drained = await untilOpen(0, 0, lastMs);
      const givenUp = ended.signal.aborted;
      ended.abort();
      if (!drained && !givenUp) throw new OutcomesLostError(open.size);
    },
  };
}

/** Collects outcomes into batches. At most `STATEMENTS_MAX` batches are in PostgreSQL at the same time. */
function createLanes(given: Omit<SettleBatchParts, 'onLocked'>): { add(outcome: OpenOutcome): void } {
  const { clock, ended, giveUpMs, log } = given;
  const waiting: OpenOutcome[] = [];
  let statements = 0;
  let scheduled = false;

  const begin = (): void => {
    scheduled = false;
    const batch = waiting.splice(0, sizeOfBatch(waiting));
    if (batch.length === 0 || ended.aborted) return;
    statements++;
    void settleBatch(parts, batch).finally(() => {
      statements--;
      schedule();
    });
    schedule();
  };

  /** Since when another transaction has locked the row of an outcome, by token, and whether that was logged. */
  const locked = new Map<string, { readonly sinceMs: number; logged: boolean }>();

  const tryAgain = async (outcomes: readonly OpenOutcome[]): Promise<void> => {
    const nowMs = clock.monotonicMs();
    let longestMs = 0;
    for (const open of outcomes) {
      const { token } = open;
      const held = locked.get(token) ?? { sinceMs: nowMs, logged: false };
      locked.set(token, held);
      longestMs = Math.max(longestMs, nowMs - held.sinceMs);
      // A cancel locks a row for a moment. That is normal and not worth a warning.
      if (held.logged || nowMs - held.sinceMs < SETTLE_LOCKED_WARN_MS) continue;
      held.logged = true;
      log.warn(logFieldsOf(open), 'an outcome waits because another transaction locks the row of its task');
    }
    if (longestMs >= giveUpMs)
      return given.onGivenUp(longestMs, new Error('another transaction locks the row of a task'));
    await pause(SETTLE_LOCKED_RETRY_MS, ended);
    waiting.push(...outcomes);
    schedule();
  };

  const parts: SettleBatchParts = {
    ...given,
    onLocked: (outcomes) => void tryAgain(outcomes),
    onClosed(outcomes) {
      if (locked.size > 0) for (const { token } of outcomes) locked.delete(token);
      given.onClosed(outcomes);
    },
  };

  /** Begins in the next turn of the event loop, so that outcomes of the current turn share a statement. */
  const schedule = (): void => {
    if (scheduled || statements >= STATEMENTS_MAX || waiting.length === 0 || ended.aborted) return;
    scheduled = true;
    setImmediate(begin);
  };

  return {
    add(outcome) {
      waiting.push(outcome);
      schedule();
    },
  };
}

/** Returns the characters of an outcome's result, the only part that may be long. */
function lengthOf({ settlement: { outcome } }: OpenOutcome): number {
  return 'result' in outcome ? (outcome.result?.length ?? 0) : 0;
}

/** Returns how many outcomes the next statement takes: at least one, if any waits. */
function sizeOfBatch(waiting: readonly OpenOutcome[]): number {
  let length = 0;
  let size = 0;
  for (const outcome of waiting.slice(0, BATCH_MAX)) {
    length += lengthOf(outcome);
    if (size > 0 && length > BATCH_LENGTH_MAX) break;
    size++;
  }
  return size;
}
