import { systemClock, type Clock } from '../core/clock.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { SweepRole } from '../store/sweep-store.ts';
import { findClaims, judgeClaims } from './claims.ts';
import { beginPass, LeaseLostError, PassEndedError, PassStoppedError, type Pass } from './lease.ts';
import { lookAtQueues } from './queues.ts';
import { prune } from './prune.ts';
import { rebuild } from './rebuild.ts';
import { reclaim } from './reclaim.ts';
import { rollingScan } from './rolling-scan.ts';
import {
  SWEEP_LIMITS,
  type SweepContext,
  type SweepLimits,
  type SweepParts,
  type SweepSettings,
} from './sweep-context.ts';
import type { SweepResult } from './sweep-result.ts';
import { watch } from './watch.ts';
import { checkWatermark } from './watermark.ts';

export interface Sweeper {
  /**
   * One pass: reclaim, reconcile, and prune as the reclaimer.
   * @returns null while another sweeper holds the lease, once it took the lease over, and where the signal ended the pass
   * @throws StoreUnavailableError when a store was away; the next pass goes on where the last good one ended
   */
  runOnce(role: SweepRole, signal?: AbortSignal): Promise<SweepResult | null>;
  /** Waits for `restMs` after a pass; less where Kubernetes can be asked for somebody who falls silent meanwhile. */
  watch(after: SweepResult, restMs: number, signal: AbortSignal): Promise<void>;
}

export interface SweeperOptions extends SweepParts {
  readonly settings: SweepSettings;
  /** Names this process in the lease. */
  readonly holder: string;
  readonly limits?: Partial<SweepLimits>;
  readonly clock?: Clock;
}

export function createSweeper(options: SweeperOptions): Sweeper {
  const { holder, store, log, clock = systemClock } = options;
  const limits = { ...SWEEP_LIMITS, ...options.limits };
  const context: SweepContext = { ...options, limits, clock, running: new Set() };

  return {
    async runOnce(role, signal) {
      // Whoever does not reach Redis can do nothing with the lease, and would keep it from those who do.
      await context.sweepQueue.beat(context.settings.HEARTBEAT_GAP);
      const pass = await beginPass({ store, holder, role, times: limits, clock, signal });
      if (pass === null) return null;
      try {
        await runDuties(context, pass);
        await pass.end();
      } catch (error) {
        if (error instanceof PassStoppedError) return null;
        if (!(error instanceof LeaseLostError)) throw error;
        log.warn({ pass: pass.grant.pass }, "the sweeper's lease was lost during a pass");
        return null;
      } finally {
        // What was done counts, however the pass ended.
        await addTotals(context, pass.result);
      }
      return pass.result;
    },
    watch: (after, restMs, signal) => watch(context, after.inTime, restMs, signal),
  };
}

/** Figures of a CronJob's pod cannot be scraped: they are kept in PostgreSQL, and the API exports them. */
async function addTotals({ store, log }: SweepContext, result: SweepResult): Promise<void> {
  const { buried, reconciled } = result;
  const reclaimed = result.reclaimed + buried + result.cancelled;
  if (reclaimed === 0 && Object.values(reconciled).every((count) => count === 0)) return;
  try {
    await store.addTotals({ reclaimed, buried, reconciled });
  } catch (error) {
    log.debug({ err: error }, 'totals of a pass were lost');
  }
}

/** The dead come first: everything behind them may take its time. */
async function runDuties(context: SweepContext, pass: Pass): Promise<void> {
  // If Redis does not take beats, nobody can be blamed for having sent none: no verdict, and no pass. Once more,
  // since it may have been away while the lease was waited for.
  await context.sweepQueue.beat(context.settings.HEARTBEAT_GAP);
  const queues = await lookAtQueues(context);
  const found = await findClaims(context, pass, queues);
  await reclaim(context, pass, queues, found.holders);
  await judgeClaims(context, pass, found);
  await rebuild(context, pass, queues);
  await checkWatermark(context, pass);
  await rollingScan(context, pass, queues);
  if (pass.role === 'reclaimer') await pruneIfPossible(context, pass);
}

/** What is not deleted today is deleted tomorrow: no reason to leave the dead unburied. */
async function pruneIfPossible(context: SweepContext, pass: Pass): Promise<void> {
  try {
    await prune(context, pass);
  } catch (error) {
    if (error instanceof PassEndedError || error instanceof StoreUnavailableError) throw error;
    context.log.error({ err: error }, 'old tasks could not be pruned');
  }
}
