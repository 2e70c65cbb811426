import { pause } from '../lifecycle/loop.ts';
import type { Clock } from '../core/clock.ts';
import { RefusedDataError, storableText, StoreUnavailableError } from '../core/errors.ts';
import type { SettleResult, TaskStore } from '../store/task-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { SettledOutcome } from './aftermath.ts';
import type { OpenOutcome } from './open-outcome.ts';

/** An outcome that PostgreSQL did not take, and why, as the log of the attempt is to tell it. */
export interface RefusedOutcome {
  readonly open: OpenOutcome;
  readonly why: string;
}

export interface SettleBatchParts {
  readonly workerId: string;
  readonly store: Pick<TaskStore, 'settle'>;
  readonly log: Logger;
  readonly clock: Clock;
  /** Pause before a repetition, doubled with every failure in a row. */
  readonly retryMs: { readonly min: number; readonly max: number };
  readonly giveUpMs: number;
  /** From now on nothing is tried any more. */
  readonly ended: AbortSignal;
  /** Called with what PostgreSQL has judged. Must not throw. */
  readonly onSettled: (settled: readonly SettledOutcome[]) => void;
  /** Called, before `onClosed`, with what PostgreSQL did not take, though the attempt may still be this worker's. */
  readonly onRefused: (refused: RefusedOutcome) => void;
  /** Called, after `onSettled`, with everything that needs no further try. */
  readonly onClosed: (outcomes: readonly OpenOutcome[]) => void;
  readonly onGivenUp: (afterMs: number, error: unknown) => void;
}

/** Repeats a batch until PostgreSQL has judged all of it, or it is time to give up. Never rejects. */
export async function settleBatch(parts: SettleBatchParts, batch: readonly OpenOutcome[]): Promise<void> {
  const { clock, retryMs, giveUpMs, ended, log } = parts;
  const sinceMs = clock.monotonicMs();
  let delayMs = retryMs.min;
  let repeated = false;
  while (!ended.aborted) {
    try {
      return close(parts, batch, await judged(parts, batch, repeated));
    } catch (error) {
      repeated = true;
      if (error instanceof RefusedDataError) return await isolate(parts, batch, error);
      if (!(error instanceof StoreUnavailableError)) log.error({ err: error, outcomes: batch.length }, 'settle failed');
      const afterMs = clock.monotonicMs() - sinceMs;
      if (afterMs >= giveUpMs) return parts.onGivenUp(afterMs, error);
      await pause(delayMs, ended);
      delayMs = Math.min(retryMs.max, delayMs * 2);
    }
  }
}

async function judged(
  { store, workerId }: SettleBatchParts,
  batch: readonly OpenOutcome[],
  repeated: boolean,
): Promise<SettleResult[]> {
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
}

/** Halves a refused batch until the culprit stands alone, and fails that one with a message that can be kept. */
async function isolate(parts: SettleBatchParts, batch: readonly OpenOutcome[], error: RefusedDataError): Promise<void> {
  if (batch.length > 1) {
    const half = Math.ceil(batch.length / 2);
    await settleBatch(parts, batch.slice(0, half));
    await settleBatch(parts, batch.slice(half));
    return;
  }
  const culprit = batch[0] as OpenOutcome;
  parts.log.error({ err: error, ...culprit.logFields }, 'outcome refused by PostgreSQL');
  // Not even the replacement was taken: nothing is left to try, and the other outcomes must not wait for it.
  if (culprit.replaced) {
    parts.onRefused({ open: culprit, why: error.message });
    return parts.onClosed([culprit]);
  }
  await settleBatch(parts, [{ ...culprit, replaced: true, settlement: refusedSettlement(culprit, error) }]);
}

function close(parts: SettleBatchParts, batch: readonly OpenOutcome[], results: readonly SettleResult[]): void {
  const byToken = new Map(results.map((result) => [tokenOf(result), result]));
  const settled = batch.flatMap((open) => {
    const result = byToken.get(open.token);
    return result === undefined ? [] : [{ open, result }];
  });
  for (const open of batch) {
    const verdict = byToken.get(open.token)?.verdict ?? 'unknown';
    if (verdict === 'stale' || verdict === 'unknown') parts.onRefused({ open, why: `it was taken for ${verdict}` });
  }
  // Before they are closed, so that nobody takes an attempt for lost in between.
  parts.onSettled(settled);
  parts.onClosed(batch);
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
