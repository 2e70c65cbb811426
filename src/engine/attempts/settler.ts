import { createChanges } from '../../lifecycle/changes.ts';
import type { Service } from '../../lifecycle/service.ts';
import {
  LAST_SETTLE_MS,
  SETTLE_GIVE_UP_MS,
  SETTLE_LOCKED_RETRY_MS,
  SETTLE_LOCKED_WARN_MS,
  STORE_RETRY_MAX_MS,
  STORE_RETRY_MIN_MS,
} from '../../config/timings.ts';
import { pause } from '../../lifecycle/loop.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { SchedulerError } from '../../core/errors.ts';
import type { AttemptStore } from './attempt-store.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { SettledOutcome } from './aftermath.ts';
import type { OpenOutcome } from './open-outcome.ts';
import { settleBatch, type RefusedOutcome, type SettleBatchParts } from './settle-batch.ts';

/**
 * The one way by which outcomes reach PostgreSQL. At rest an outcome is written
 * at once; under load, what arrives while two statements are on their way goes
 * together with the next one.
 */
export interface Settler extends Service {
  /** Takes an outcome over; a second one of the same attempt is ignored. */
  add(open: OpenOutcome): void;
  /** Whether an outcome of this attempt is on its way. */
  has(token: string): boolean;
  /**
   * Outcomes that PostgreSQL did not take, by token, until they are forgotten. Most belong to attempts that somebody
   * else was given meanwhile; the holdings find out which do not.
   */
  readonly refused: ReadonlyMap<string, RefusedOutcome>;
  forgetRefused(token: string): void;
  /** Resolves with true when nothing is on its way, else with false after `ms`. */
  drain(ms: number): Promise<boolean>;
  /**
   * Resolves with true when more outcomes may come, else with false after `ms` or when the signal fires:
   * while statements hang, what handlers return must not fill the memory.
   */
  waitForRoom(ms: number, signal: AbortSignal): Promise<boolean>;
  /** Rejects when outcomes could not be written for too long; then the process has to end. */
  readonly failed: Promise<never>;
}

export interface SettlerOptions {
  readonly workerId: string;
  readonly store: Pick<AttemptStore, 'settle'>;
  /** Called with every batch that PostgreSQL has judged; brings Redis, metrics and log into line. Must not throw. */
  readonly onSettled: (settled: readonly SettledOutcome[]) => void;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly giveUpMs?: number | undefined;
  /** How long `stop()` waits for what is open. */
  readonly lastMs?: number;
  readonly retryMs?: { readonly min: number; readonly max: number };
}

const STATEMENTS_MAX = 2;
const BATCH_MAX = 400;

/** Claiming stops beyond this: a few statements' worth more than load alone brings about. */
const OPEN_MAX = 10 * BATCH_MAX;

/** Characters of results with which a statement is full, … */
const BATCH_LENGTH_MAX = 4_194_304;

/** … and beyond which claiming stops: a result may be 256 KiB, and thousands of them would fill the memory. */
const OPEN_LENGTH_MAX = 4 * BATCH_LENGTH_MAX;

/** Outcomes were given up because PostgreSQL did not take them for too long. */
export class SettleGivenUpError extends SchedulerError {
  constructor(outcomes: number, afterMs: number, cause: unknown) {
    super('settle_given_up', `${outcomes} outcomes could not be written for ${Math.round(afterMs / 1_000)} s`, {
      cause,
    });
  }
}

/** Outcomes were still open when their worker had to end. */
class OutcomesLostError extends SchedulerError {
  constructor(outcomes: number) {
    const message = `${outcomes} outcomes could not be written before the end; their tasks will run again`;
    super('outcomes_lost', message, { retryable: true });
  }
}

export function createSettler(options: SettlerOptions): Settler {
  const { log, lastMs = LAST_SETTLE_MS } = options;
  const failure = Promise.withResolvers<never>();
  // Whoever runs the process listens; without a listener it must not count as unhandled.
  failure.promise.catch(() => {});
  const ended = new AbortController();
  const changes = createChanges();
  /** Tokens of what waits and of what is in a statement, with their lengths. */
  const open = new Map<string, number>();
  let openLength = 0;
  const refused = new Map<string, RefusedOutcome>();

  const onClosed = (outcomes: readonly OpenOutcome[]): void => {
    for (const { token } of outcomes) {
      openLength -= open.get(token) ?? 0;
      open.delete(token);
    }
    changes.tell();
  };

  const onGivenUp = (afterMs: number, error: unknown): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    log.fatal({ err: error, outcomes: open.size }, 'outcomes given up, their tasks will run again');
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

  /** Resolves with true when no more than that are open, else with false: the time is over, the signal fired, or they were given up. */
  const untilOpen = async (most: number, mostLength: number, ms: number, signal?: AbortSignal): Promise<boolean> => {
    const isSo = (): boolean => open.size <= most && openLength <= mostLength;
    await changes.until(() => isSo() || ended.signal.aborted, ms, signal);
    return isSo();
  };

  return {
    name: 'settler',
    failed: failure.promise,
    add(outcome) {
      if (open.has(outcome.token) || ended.signal.aborted) return;
      const length = lengthOf(outcome);
      open.set(outcome.token, length);
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

/** Gathers outcomes into batches, of which so many at most are in PostgreSQL at the same time. */
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

  /** Since when rows have been held by somebody else, by token, and whether that was logged. */
  const locked = new Map<string, { readonly sinceMs: number; logged: boolean }>();

  const tryAgain = async (outcomes: readonly OpenOutcome[]): Promise<void> => {
    const nowMs = clock.monotonicMs();
    let longestMs = 0;
    for (const { token, logFields } of outcomes) {
      const held = locked.get(token) ?? { sinceMs: nowMs, logged: false };
      locked.set(token, held);
      longestMs = Math.max(longestMs, nowMs - held.sinceMs);
      // A cancel holds a row for a moment, which is nothing to speak of.
      if (held.logged || nowMs - held.sinceMs < SETTLE_LOCKED_WARN_MS) continue;
      held.logged = true;
      log.warn(logFields, 'an outcome waits, because somebody holds the row of its task');
    }
    if (longestMs >= giveUpMs) return given.onGivenUp(longestMs, new Error('somebody holds the row of a task'));
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

  /** Not at once, so that outcomes of one turn of the event loop share a statement. */
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

/** Characters of an outcome that may be many. */
function lengthOf({ settlement: { outcome } }: OpenOutcome): number {
  return 'result' in outcome ? (outcome.result?.length ?? 0) : 0;
}

/** How many of the first outcomes one statement takes; one at least, if there is one. */
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
