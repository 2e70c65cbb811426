import { RefusedDataError, storableText, StoreUnavailableError } from '../../core/errors.ts';
import { attemptToken } from '../../core/task.ts';
import { createLoop } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { Holding, AttemptStore } from './attempt-store.ts';
import type { Attempt } from './attempt.ts';
import { releaseOf } from './open-outcome.ts';
import type { Settler } from './settler.ts';
import type { Slots } from './slots.ts';

/** The result of one comparison. */
export interface HoldingsReport {
  /** Rows in this worker's name that it does not run: they were seen for the second time and handed back. */
  readonly released: number;
  /** Rows whose attempt ran here and whose outcome PostgreSQL refused: they were handed back as lost. */
  readonly reclaimed: number;
  /** Running attempts that no longer have a row in this worker's name. */
  readonly lost: number;
  readonly cancelled: number;
  readonly progressed: number;
}

/** Compares the rows that name this worker in PostgreSQL with the attempts that it runs. */
export interface Holdings extends Service {
  runOnce(): Promise<HoldingsReport>;
}

export interface HoldingsParts {
  readonly workerId: string;
  readonly store: Pick<AttemptStore, 'holdings' | 'reclaimOwn' | 'recordProgress'>;
  readonly queue: Pick<TaskQueue, 'release'>;
  readonly slots: Slots;
  readonly settler: Pick<Settler, 'add' | 'has' | 'refused' | 'forgetRefused'>;
  readonly lostCap: number;
  readonly metrics: Pick<Metrics, 'outcomesRefused'>;
  /** Whether the start of a task is in progress: its row may name the worker before the worker has the answer. */
  readonly isStarting: (id: string) => boolean;
  readonly intervalMs: number;
  readonly log: Logger;
}

export function createHoldings(parts: HoldingsParts): Holdings {
  const { workerId, store, slots, settler, isStarting, intervalMs, log } = parts;
  let seenBefore = new Set<string>();

  /** Returns the rows that nobody runs. An attempt that overran its time limit is settled, so it counts as not running here. */
  const unclaimed = (rows: readonly Holding[]): Holding[] => {
    const open = slots.all().filter(({ settled }) => !settled);
    const running = new Set(open.map(({ token }) => token));
    return rows.filter((row) => {
      const token = attemptToken(row);
      return !running.has(token) && !settler.has(token) && !isStarting(row.id);
    });
  };

  /**
   * Hands back rows that were seen in two consecutive comparisons without a running attempt: the answer to their start
   * or to their settle was lost. If such an attempt ran here and its outcome was refused, the next one would end in the
   * same way. It therefore counts as lost; otherwise the task would run again and again without end.
   */
  const handBack = async (rows: readonly Holding[]): Promise<{ released: number; reclaimed: number }> => {
    const orphans = unclaimed(rows);
    const again = orphans.filter((row) => seenBefore.has(attemptToken(row)));
    seenBefore = new Set(orphans.map(attemptToken));
    const refused = again.filter((row) => settler.refused.has(attemptToken(row)));
    const unknown = again.filter((row) => !settler.refused.has(attemptToken(row)));
    if (unknown.length > 0)
      log.warn({ tasks: unknown.length, firstTaskId: unknown[0]?.id }, 'tasks are held but not run, handing them back');
    for (const row of unknown) settler.add(releaseOf(row));
    for (const row of refused) await reclaimRefused(parts, row);
    return { released: unknown.length, reclaimed: refused.length };
  };

  const runOnce = async (): Promise<HoldingsReport> => {
    // Take this list before the query: rows of attempts that start during the query may be missing from its result.
    const asked = slots.all().filter(({ settled }) => !settled);
    const refused = [...settler.refused.keys()];
    const rows = await store.holdings(workerId);
    const byToken = new Map(rows.map((row) => [attemptToken(row), row]));

    const open = asked.filter(({ settled }) => !settled);
    const lost = open.filter(({ token, abortCode }) => !byToken.has(token) && abortCode === null);
    for (const attempt of lost) {
      attempt.log.warn('task no longer belongs to this worker, telling its handler');
      attempt.abort('ownership_lost');
    }
    const cancelled = open.filter(
      ({ token, abortCode }) => byToken.get(token)?.cancelRequested === true && abortCode === null,
    );
    for (const attempt of cancelled) attempt.abort('cancelled');

    // Most outcomes were refused because another worker has the task by now. There is nothing to hand back then.
    for (const token of refused) if (!byToken.has(token)) settler.forgetRefused(token);
    const report = { ...(await handBack(rows)), lost: lost.length, cancelled: cancelled.length };
    return { ...report, progressed: await writeProgress(parts, open) };
  };

  const loop = createLoop({
    name: 'holdings',
    intervalMs,
    jitter: 0.1,
    runOnce,
    onError(error) {
      if (!(error instanceof StoreUnavailableError)) log.error({ err: error }, 'comparing the holdings failed');
    },
  });
  return { ...loop, runOnce };
}

async function reclaimRefused(parts: HoldingsParts, row: Holding): Promise<void> {
  const { workerId, store, queue, settler, lostCap, metrics, log } = parts;
  const token = attemptToken(row);
  const why = settler.refused.get(token)?.why ?? '';
  const message = storableText(`PostgreSQL refused the outcome of this attempt: ${why}`, WHY_LIMIT);
  const fields = { trace_id: row.traceId, task_id: row.id, queue: row.queue, attempt: row.attempt, why: message };
  try {
    const error = { name: 'OutcomeRefusedError', code: 'outcome_refused', message };
    const reclaimed = await store.reclaimOwn(workerId, row, lostCap, error);
    settler.forgetRefused(token);
    if (reclaimed === null) return;
    const { verb, lost } = reclaimed;
    metrics.outcomesRefused.inc();
    const buried = verb === 'fail' ? '; the task was lost too often and is now in the dead letters' : '';
    log.error({ ...fields, lost, verb }, `an outcome was refused, the run counts as lost${buried}`);
    const position = { id: row.id, priority: row.priority, placeMs: row.placeMs };
    await queue.release(row.queue, workerId, [{ position, waitMs: verb === 'reclaim' ? 0 : null }]);
  } catch (error) {
    if (error instanceof StoreUnavailableError) throw error;
    // The row keeps this worker's name, and the next comparison tries again. This worker does not run the task
    // meanwhile.
    log.error({ err: error, ...fields }, 'a task whose outcome was refused cannot be handed back');
  }
}

/** Most characters of a refusal that the execution log keeps. */
const WHY_LIMIT = 1_000;

async function writeProgress({ workerId, store, log }: HoldingsParts, open: readonly Attempt[]): Promise<number> {
  const told = open.flatMap((attempt) => {
    const { progress, settled } = attempt;
    return progress === null || settled ? [] : [{ attempt, progress }];
  });
  if (told.length === 0) return 0;
  const entries = told.map(({ attempt: { task }, progress }) => ({ id: task.id, attempt: task.attempt, progress }));
  // Progress stays with the attempt until it is known to be written. If the attempt settles before, its outcome
  // carries it.
  const close = (): void => {
    for (const { attempt, progress } of told) if (attempt.progress === progress) attempt.progress = null;
  };
  try {
    await store.recordProgress(workerId, entries);
    close();
    return entries.length;
  } catch (error) {
    // Progress is optional: drop what PostgreSQL refused, because the handler may report again.
    if (!(error instanceof RefusedDataError)) throw error;
    log.warn({ err: error }, 'progress refused by PostgreSQL');
    close();
    return 0;
  }
}
