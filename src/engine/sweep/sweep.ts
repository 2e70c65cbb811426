import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreRefusedError, StoreUnavailableError } from '../../core/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Presence } from '../presence/presence.ts';
import { createDutyRunner, type Duty } from './duty.ts';
import type { LeaseStore, SweepRole } from './lease-store.ts';
import { beginPass, LeaseLostError, PassStoppedError } from './lease.ts';
import type { PodEvidence } from './reclaim/pod-evidence.ts';
import { SWEEP_LIMITS, type SweepContext, type SweepLimits, type SweepSettings } from './sweep-context.ts';
import { emptyResult, WHOLE_PASS, type SweepResult } from './sweep-result.ts';
import { watch } from './watch.ts';

export interface Sweeper {
  /**
   * Runs one pass: reclaim, reconcile and, in the role of the reclaimer, housekeeping. The result names failed
   * duties.
   * @returns null if another sweeper holds the lease or has taken it over, or if the signal ended the pass
   * @throws StoreUnavailableError if a store was unavailable before the first duty, or the lease could not be renewed
   * or freed; the next pass goes on where this one ended
   */
  runOnce(role: SweepRole, signal?: AbortSignal): Promise<SweepResult | null>;
  /**
   * Milliseconds since the last successful pass of any process; null if there was none.
   * @throws StoreUnavailableError
   */
  idleMs(): Promise<number | null>;
  /**
   * Waits for `restMs` after a pass, or less if a worker falls silent meanwhile and Kubernetes can be asked about it.
   */
  watch(after: SweepResult, restMs: number, signal: AbortSignal): Promise<void>;
}

export interface SweeperOptions {
  readonly leases: LeaseStore;
  readonly presence: Pick<Presence, 'beat' | 'silences'>;
  /** Checks which permissions the Redis user lacks, and logs them. Never rejects. */
  readonly checkRights: () => Promise<void>;
  /** Returns the duties in the order in which they run. */
  readonly duties: (limits: SweepLimits) => readonly Duty[];
  /** Set if the Kubernetes API can be asked. */
  readonly pods?: PodEvidence | undefined;
  readonly settings: SweepSettings;
  readonly log: Logger;
  /** The name of this process in the lease. */
  readonly holder: string;
  readonly limits?: Partial<SweepLimits>;
  readonly clock?: Clock;
}

export function createSweeper(options: SweeperOptions): Sweeper {
  const { holder, leases, presence, pods, settings, log, clock = systemClock } = options;
  const limits = { ...SWEEP_LIMITS, ...options.limits };
  const context: SweepContext = { settings, log, limits, clock, memory: { running: new Set() } };
  const duties = options.duties(limits);
  const runner = createDutyRunner();

  return {
    async runOnce(role, signal) {
      await options.checkRights();
      // Without Redis this process could do nothing with the lease, and would keep it from processes that reach Redis.
      await beatFirst(options);
      const pass = await beginPass({ store: leases, holder, role, times: limits, clock, signal });
      if (pass === null) return null;
      try {
        // If Redis does not accept beats, no worker can be blamed for silence, so there must be no pass. Beat once more
        // here, because Redis may have become unavailable while this process waited for the lease.
        await presence.beat(settings.HEARTBEAT_GAP);
        await runner.runAll(context, pass, duties);
        await pass.end();
      } catch (error) {
        if (error instanceof PassStoppedError) return null;
        if (!(error instanceof LeaseLostError)) {
          pass.result.failed.push(WHOLE_PASS);
          throw error;
        }
        log.warn({ pass: pass.grant.pass }, "the sweeper's lease was lost during a pass");
        return null;
      } finally {
        // Work that was done counts, however the pass ended.
        await addTotals(options, pass.result);
      }
      return pass.result;
    },
    idleMs: async () => (await leases.lookAtLease()).idleMs,
    watch: (after, restMs, signal) => watch({ clock, pods, settings, presence }, after.inTime, restMs, signal),
  };
}

/**
 * Beats before the lease is taken. A refusal by Redis is counted as a failed pass. An outage is not: every process
 * would count it, and `scheduler_store_up` shows it already.
 */
async function beatFirst(options: SweeperOptions): Promise<void> {
  try {
    await options.presence.beat(options.settings.HEARTBEAT_GAP);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError) || error instanceof StoreRefusedError)
      await addTotals(options, { ...emptyResult('worker'), failed: [WHOLE_PASS] });
    throw error;
  }
}

/** Stores totals in PostgreSQL, and the API exports them, because metrics of a CronJob's pod cannot be scraped. */
async function addTotals({ leases, log }: SweeperOptions, result: SweepResult): Promise<void> {
  const { buried, reconciled, failed } = result;
  const reclaimed = result.reclaimed + buried + result.cancelled;
  if (reclaimed + failed.length === 0 && Object.values(reconciled).every((count) => count === 0)) return;
  try {
    await leases.addTotals({ reclaimed, buried, reconciled, failed });
  } catch (error) {
    log.debug({ err: error }, 'totals of a pass were lost');
  }
}
