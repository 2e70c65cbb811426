import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreRefusedError, StoreUnavailableError } from '../../core/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Presence } from '../presence/presence.ts';
import { createDutyRunner, WHOLE_PASS, type Duty } from './duty.ts';
import type { LeaseStore, SweepRole } from './lease-store.ts';
import { beginPass, LeaseLostError, PassStoppedError } from './lease.ts';
import type { PodEvidence } from './reclaim/pod-evidence.ts';
import { SWEEP_LIMITS, type SweepContext, type SweepLimits, type SweepSettings } from './sweep-context.ts';
import { emptyResult, type SweepResult } from './sweep-result.ts';
import { watch } from './watch.ts';

export interface Sweeper {
  /**
   * One pass: reclaim, reconcile, and as the reclaimer housekeeping. What failed of it stands in the result.
   * @returns null while another sweeper holds the lease, once it took the lease over, and where the signal ended the pass
   * @throws StoreUnavailableError when a store was away before the first duty, or the lease could not be renewed or freed;
   * the next pass goes on where the last one ended
   */
  runOnce(role: SweepRole, signal?: AbortSignal): Promise<SweepResult | null>;
  /** Milliseconds since anybody last ended a pass well; null if nobody ever did. @throws StoreUnavailableError */
  idleMs(): Promise<number | null>;
  /** Waits for `restMs` after a pass; less where Kubernetes can be asked for somebody who falls silent meanwhile. */
  watch(after: SweepResult, restMs: number, signal: AbortSignal): Promise<void>;
}

export interface SweeperOptions {
  readonly leases: LeaseStore;
  readonly presence: Pick<Presence, 'beat' | 'silences'>;
  /** Asks what the Redis user may not do of all that is needed, for a line in the log. Never rejects. */
  readonly checkRights: () => Promise<void>;
  /** In the order in which they run. */
  readonly duties: (limits: SweepLimits) => readonly Duty[];
  /** Where the Kubernetes API can be asked. */
  readonly pods?: PodEvidence | undefined;
  readonly settings: SweepSettings;
  readonly log: Logger;
  /** Names this process in the lease. */
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
      // Whoever does not reach Redis can do nothing with the lease, and would keep it from those who do.
      await beatFirst(options);
      const pass = await beginPass({ store: leases, holder, role, times: limits, clock, signal });
      if (pass === null) return null;
      try {
        // If Redis does not take beats, nobody can be blamed for having sent none: no verdict, and no pass. Once more,
        // since it may have been away while the lease was waited for.
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
        // What was done counts, however the pass ended.
        await addTotals(options, pass.result);
      }
      return pass.result;
    },
    idleMs: async () => (await leases.lookAtLease()).idleMs,
    watch: (after, restMs, signal) => watch({ clock, pods, settings, presence }, after.inTime, restMs, signal),
  };
}

/** A refusal counts; a Redis that is away is counted by nobody here: every process that looks would do so, and `scheduler_store_up` tells it. */
async function beatFirst(options: SweeperOptions): Promise<void> {
  try {
    await options.presence.beat(options.settings.HEARTBEAT_GAP);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError) || error instanceof StoreRefusedError)
      await addTotals(options, { ...emptyResult('worker'), failed: [WHOLE_PASS] });
    throw error;
  }
}

/** Figures of a CronJob's pod cannot be scraped: they are kept in PostgreSQL, and the API exports them. */
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
