import { createChanges } from '../lifecycle/changes.ts';
import { pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import { LAST_SETTLE_MS, SETTLE_GIVE_UP_MS, STORE_RETRY_MAX_MS, STORE_RETRY_MIN_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { RefusedDataError, SchedulerError, storableText, StoreUnavailableError } from '../core/errors.ts';
import type { SettleResult, TaskStore } from '../store/task-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { OpenOutcome } from './open-outcome.ts';

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
  readonly store: Pick<TaskStore, 'settle'>;
  /** Called with every batch that PostgreSQL has judged; brings Redis, metrics and log into line. Must not throw. */
  readonly onSettled: (settled: readonly { readonly open: OpenOutcome; readonly result: SettleResult }[]) => void;
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

/** Outcomes were given up because PostgreSQL did not take them for too long. */
export class SettleGivenUpError extends SchedulerError {
  constructor(outcomes: number, afterMs: number, cause: unknown) {
    super('settle_given_up', `${outcomes} outcomes could not be written for ${Math.round(afterMs / 1_000)} s`, {
      cause,
    });
  }
}

export function createSettler(options: SettlerOptions): Settler {
  const {
    workerId,
    store,
    onSettled,
    log,
    clock = systemClock,
    giveUpMs = SETTLE_GIVE_UP_MS,
    lastMs = LAST_SETTLE_MS,
  } = options;
  const retryMs = options.retryMs ?? { min: STORE_RETRY_MIN_MS, max: STORE_RETRY_MAX_MS };
  const failure = Promise.withResolvers<never>();
  // Whoever runs the process listens; without a listener it must not count as unhandled.
  failure.promise.catch(() => {});
  const ended = new AbortController();

  const open = new Map<string, OpenOutcome>();
  let waiting: OpenOutcome[] = [];
  let statements = 0;
  let scheduled = false;
  const changes = createChanges();

  /** Deferred by a microtask's length, so that outcomes of one turn of the loop share a statement. */
  const schedule = (): void => {
    if (scheduled || statements >= STATEMENTS_MAX || waiting.length === 0 || ended.signal.aborted) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      const batch = waiting.splice(0, BATCH_MAX);
      if (batch.length === 0) return;
      statements++;
      void settleBatch(batch).finally(() => {
        statements--;
        schedule();
      });
      schedule();
    });
  };

  /** Repeats a batch until PostgreSQL has judged it, or it is time to give up. Never rejects. */
  const settleBatch = async (batch: readonly OpenOutcome[]): Promise<void> => {
    const sinceMs = clock.monotonicMs();
    let delayMs = retryMs.min;
    let repeated = false;
    while (!ended.signal.aborted) {
      try {
        finish(batch, await judged(batch, repeated));
        return;
      } catch (error) {
        repeated = true;
        if (error instanceof RefusedDataError) return await isolate(batch, error);
        if (!(error instanceof StoreUnavailableError))
          log.error({ err: error, outcomes: batch.length }, 'settle failed');
        const afterMs = clock.monotonicMs() - sinceMs;
        if (afterMs >= giveUpMs) return giveUp(afterMs, error);
        await pause(delayMs, ended.signal);
        delayMs = Math.min(retryMs.max, delayMs * 2);
      }
    }
  };

  const judged = async (batch: readonly OpenOutcome[], repeated: boolean): Promise<SettleResult[]> => {
    const results = await store.settle(
      workerId,
      batch.map(({ settlement }) => settlement),
    );
    const stale = results.filter(({ verdict }) => verdict === 'stale');
    if (!repeated || stale.length === 0) return results;
    // The first try may have committed while the second waited for its locks, and so after the
    // second's snapshot, which then knows of no outcome: a fresh snapshot tells stale from already.
    const doubtful = new Set(stale.map(tokenOf));
    const again = await store.settle(
      workerId,
      batch.filter(({ token }) => doubtful.has(token)).map(({ settlement }) => settlement),
    );
    return [...results.filter((result) => !doubtful.has(tokenOf(result))), ...again];
  };

  /** Halves a refused batch until the culprit stands alone, and fails that one with a message that can be kept. */
  const isolate = async (batch: readonly OpenOutcome[], error: RefusedDataError): Promise<void> => {
    if (batch.length > 1) {
      const half = Math.ceil(batch.length / 2);
      await settleBatch(batch.slice(0, half));
      await settleBatch(batch.slice(half));
      return;
    }
    const culprit = batch[0] as OpenOutcome;
    log.error({ err: error, ...culprit.logFields }, 'outcome refused by PostgreSQL');
    // Not even the replacement was taken: nothing is left to try, and the other outcomes must not wait for it.
    if (culprit.replaced) return forget(culprit);
    const replacement = { ...culprit, replaced: true, settlement: refusedSettlement(culprit, error) };
    open.set(culprit.token, replacement);
    await settleBatch([replacement]);
  };

  const finish = (batch: readonly OpenOutcome[], results: readonly SettleResult[]): void => {
    const byToken = new Map(results.map((result) => [tokenOf(result), result]));
    const settled = batch.flatMap((entry) => {
      const result = byToken.get(entry.token);
      return result === undefined ? [] : [{ open: entry, result }];
    });
    // Before the entries are forgotten, so that nobody takes an attempt for lost in between.
    onSettled(settled);
    for (const entry of batch) forget(entry);
  };

  const forget = ({ token }: OpenOutcome): void => {
    open.delete(token);
    changes.tell();
  };

  const giveUp = (afterMs: number, error: unknown): void => {
    if (ended.signal.aborted) return;
    ended.abort();
    log.fatal({ err: error, outcomes: open.size }, 'outcomes given up, their tasks will run again');
    failure.reject(new SettleGivenUpError(open.size, afterMs, error));
    changes.tell();
  };

  /** Resolves with true when no more than that many are open, else with false: the time is over, the signal fired, or they were given up. */
  const untilOpen = async (most: number, ms: number, signal?: AbortSignal): Promise<boolean> => {
    await changes.until(() => open.size <= most || ended.signal.aborted, ms, signal);
    return open.size <= most;
  };

  const settler: Settler = {
    name: 'settler',
    failed: failure.promise,
    add(entry) {
      if (open.has(entry.token) || ended.signal.aborted) return;
      open.set(entry.token, entry);
      waiting.push(entry);
      schedule();
    },
    has: (token) => open.has(token),
    drain: (ms) => untilOpen(0, ms),
    waitForRoom: (ms, signal) => untilOpen(OPEN_MAX - 1, ms, signal),
    async start() {},
    async stop() {
      const drained = await settler.drain(lastMs);
      const givenUp = ended.signal.aborted;
      ended.abort();
      waiting = [];
      if (!drained && !givenUp) {
        throw new SchedulerError(
          'outcomes_lost',
          `${open.size} outcomes could not be written before the end; their tasks will run again`,
          { retryable: true },
        );
      }
    },
  };
  return settler;
}

function tokenOf({ id, attempt }: SettleResult): string {
  return `${id}:${attempt}`;
}

function refusedSettlement({ settlement }: OpenOutcome, error: RefusedDataError): OpenOutcome['settlement'] {
  const message = storableText(`the outcome could not be stored: ${error.message}`, 1_000);
  return {
    id: settlement.id,
    attempt: settlement.attempt,
    outcome: { verb: 'fail', error: { name: 'RefusedDataError', code: 'refused_data', message }, result: null },
    reason: 'final_error',
  };
}
