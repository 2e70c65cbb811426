import type { Clock } from '../../core/clock.ts';
import { RefusedDataError, storableText, StoreUnavailableError } from '../../core/errors.ts';
import { attemptToken } from '../../core/task.ts';
import { pause } from '../../lifecycle/loop.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { SettledOutcome } from './aftermath.ts';
import type { SettleResult, AttemptStore } from './attempt-store.ts';
import { logFieldsOf, type OpenOutcome } from './open-outcome.ts';

/** An outcome that PostgreSQL did not accept, and the reason for the execution log. */
export interface RefusedOutcome {
  readonly open: OpenOutcome;
  readonly why: string;
}

export interface SettleBatchParts {
  readonly workerId: string;
  readonly store: Pick<AttemptStore, 'settle'>;
  readonly log: Logger;
  readonly clock: Clock;
  /** Pause before a retry; it doubles with every consecutive failure. */
  readonly retryMs: { readonly min: number; readonly max: number };
  readonly giveUpMs: number;
  /** Stops all retries when it fires. */
  readonly ended: AbortSignal;
  /** Called with the outcomes that PostgreSQL has judged. Must not throw. */
  readonly onSettled: (settled: readonly SettledOutcome[]) => void;
  /**
   * Called before `onClosed` with an outcome that PostgreSQL did not accept. This worker may still hold the attempt.
   */
  readonly onRefused: (refused: RefusedOutcome) => void;
  /** Called with outcomes whose rows another transaction locks. They have to be tried again, apart from this batch. */
  readonly onLocked: (outcomes: readonly OpenOutcome[]) => void;
  /** Called after `onSettled` with all outcomes that need no further try. */
  readonly onClosed: (outcomes: readonly OpenOutcome[]) => void;
  readonly onGivenUp: (afterMs: number, error: unknown) => void;
}

/** Writes a batch, and retries until PostgreSQL answers or the time to give up is reached. Never rejects. */
export async function settleBatch(parts: SettleBatchParts, batch: readonly OpenOutcome[]): Promise<void> {
  const { clock, retryMs, giveUpMs, ended, log } = parts;
  const sinceMs = clock.monotonicMs();
  let delayMs = retryMs.min;
  while (!ended.aborted) {
    try {
      const settlements = batch.map(({ settlement }) => settlement);
      return close(parts, batch, await parts.store.settle(parts.workerId, settlements));
    } catch (error) {
      if (error instanceof RefusedDataError) return await isolate(parts, batch, error);
      if (!(error instanceof StoreUnavailableError)) log.error({ err: error, outcomes: batch.length }, 'settle failed');
      const afterMs = clock.monotonicMs() - sinceMs;
      if (afterMs >= giveUpMs) return parts.onGivenUp(afterMs, error);
      await pause(delayMs, ended);
      delayMs = Math.min(retryMs.max, delayMs * 2);
    }
  }
}

/**
 * Halves a refused batch until the refused outcome is alone, and replaces that outcome by a failure whose message can
 * be stored. An outcome whose row exists already is not replaced: the failure could be refused too, and otherwise the
 * attempt would be recorded twice. The worker gives such an attempt back as lost.
 */
async function isolate(parts: SettleBatchParts, batch: readonly OpenOutcome[], error: RefusedDataError): Promise<void> {
  if (batch.length > 1) {
    const half = Math.ceil(batch.length / 2);
    await settleBatch(parts, batch.slice(0, half));
    await settleBatch(parts, batch.slice(half));
    return;
  }
  const culprit = batch[0] as OpenOutcome;
  parts.log.error({ err: error, ...logFieldsOf(culprit) }, 'outcome refused by PostgreSQL');
  // No other outcome can be written. Close the outcome, so that the others do not wait for it.
  if (culprit.replaced || error.keyExists) {
    parts.onRefused({ open: culprit, why: error.message });
    return parts.onClosed([culprit]);
  }
  await settleBatch(parts, [{ ...culprit, replaced: true, settlement: refusedSettlement(culprit, error) }]);
}

function close(parts: SettleBatchParts, batch: readonly OpenOutcome[], results: readonly SettleResult[]): void {
  const settled: SettledOutcome[] = [];
  const judged: OpenOutcome[] = [];
  const locked: OpenOutcome[] = [];
  const resultOf = pairing(results);
  for (const [i, open] of batch.entries()) {
    const result = resultOf(open, i);
    const verdict = result?.verdict ?? 'unknown';
    if (verdict === 'locked') {
      locked.push(open);
      continue;
    }
    judged.push(open);
    if (result !== undefined) settled.push({ open, result });
    if (verdict === 'stale' || verdict === 'unknown') parts.onRefused({ open, why: `the verdict was ${verdict}` });
  }
  // Report before closing. Otherwise the holdings could take an attempt for lost in between.
  parts.onSettled(settled);
  parts.onClosed(judged);
  if (locked.length > 0) parts.onLocked(locked);
}

/** Returns a function that finds the result of an outcome. Results are usually in the order of the outcomes. */
function pairing(results: readonly SettleResult[]): (open: OpenOutcome, i: number) => SettleResult | undefined {
  let byToken: Map<string, SettleResult> | undefined;
  return ({ token, settlement }, i) => {
    const near = results[i];
    if (near?.id === settlement.id && near.attempt === settlement.attempt) return near;
    byToken ??= new Map(results.map((result) => [attemptToken(result), result]));
    return byToken.get(token);
  };
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
