import {
  CLAIM_LOOK_UNTIL_MS,
  CLAIM_LOST_AFTER_MS,
  PRUNE_INTERVAL_MS,
  REGISTRY_FORGET_MS,
  ROLLING_SCAN_ROUND_MS,
  SWEEPER_LEASE_MS,
  SWEEP_DUTY_MS,
  WATERMARK_LAG_MS,
  WATERMARK_OVERLAP_MS,
} from '../config/timings.ts';
import type { Config } from '../config/env.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { SweepQueue } from '../queue/sweep-queue.ts';
import type { TaskQueue } from '../queue/task-queue.ts';
import type { SweepRole, SweepStore } from '../store/sweep-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import { findClaims, judgeClaims } from './claims.ts';
import { beginPass, LeaseLostError, PassEndedError, PassStoppedError, type Pass } from './lease.ts';
import type { PodEvidence } from './pod-evidence.ts';
import { lookAtQueues } from './queues.ts';
import { prune } from './prune.ts';
import { rebuild } from './rebuild.ts';
import { reclaim } from './reclaim.ts';
import { rollingScan } from './rolling-scan.ts';
import type { SweepResult } from './sweep-result.ts';
import { checkWatermark } from './watermark.ts';

/** Times and bounds of a pass; the tests give shorter ones. All in milliseconds unless they say otherwise. */
export interface SweepLimits {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
  readonly claimLostAfterMs: number;
  readonly claimLookUntilMs: number;
  readonly registryForgetMs: number;
  readonly scanRoundMs: number;
  readonly pruneIntervalMs: number;
  /** How long one duty may go on in one pass; what is left is the next pass's. */
  readonly dutyMs: number;
  /** Rows of one page. */
  readonly pageRows: number;
  /** Rows of one page of a rebuild, each of which reads and sorts all that waits. */
  readonly rebuildRows: number;
  /** Rows that one statement takes back or deletes: it has to end well within the lease. */
  readonly batchRows: number;
}

export const SWEEP_LIMITS: SweepLimits = {
  leaseMs: SWEEPER_LEASE_MS,
  overlapMs: WATERMARK_OVERLAP_MS,
  lagMs: WATERMARK_LAG_MS,
  claimLostAfterMs: CLAIM_LOST_AFTER_MS,
  claimLookUntilMs: CLAIM_LOOK_UNTIL_MS,
  registryForgetMs: REGISTRY_FORGET_MS,
  scanRoundMs: ROLLING_SCAN_ROUND_MS,
  pruneIntervalMs: PRUNE_INTERVAL_MS,
  dutyMs: SWEEP_DUTY_MS,
  pageRows: 5_000,
  rebuildRows: 20_000,
  batchRows: 1_000,
};

export interface SweepParts {
  readonly store: SweepStore;
  readonly sweepQueue: SweepQueue;
  readonly queue: TaskQueue;
  readonly log: Logger;
  /** Where the Kubernetes API can be asked. */
  readonly pods?: PodEvidence | undefined;
}

export type SweepSettings = Pick<
  Config,
  'HEARTBEAT_INTERVAL' | 'HEARTBEAT_TTL' | 'HEARTBEAT_GAP' | 'LOST_CAP' | 'RETENTION' | 'RETENTION_FAILED'
>;

/** What every duty gets. */
export interface SweepContext extends SweepParts {
  readonly settings: SweepSettings;
  readonly limits: SweepLimits;
  readonly clock: Clock;
  /** Claims that were seen to run: they need not be looked up in every pass. Only this process knows them. */
  running: ReadonlySet<string>;
}

export interface Sweeper {
  readonly holder: string;
  /**
   * One pass: reclaim, reconcile, and prune as the reclaimer.
   * @returns null while another sweeper holds the lease, once it took the lease over, and where the signal ended the pass
   * @throws StoreUnavailableError when a store was away; the next pass goes on where the last good one ended
   */
  runOnce(role: SweepRole, signal?: AbortSignal): Promise<SweepResult | null>;
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
    holder,
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
  };
}

/** Figures of a CronJob's pod cannot be scraped: they are kept in PostgreSQL, and the API exports them. */
async function addTotals({ store, log }: SweepContext, result: SweepResult): Promise<void> {
  const { reconciled } = result;
  const reclaimed = result.reclaimed + result.buried + result.cancelled;
  if (reclaimed === 0 && Object.values(reconciled).every((count) => count === 0)) return;
  try {
    await store.addTotals({ reclaimed, reconciled });
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

/** Whether a duty that began at `sinceMs` has had its time in this pass. */
export function isSpent(context: SweepContext, sinceMs: number): boolean {
  return context.clock.monotonicMs() - sinceMs >= context.limits.dutyMs;
}
