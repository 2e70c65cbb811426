import type { Clock } from '../../core/clock.ts';
import { SchedulerError } from '../../core/errors.ts';
import { cursorsOf, type Cursors } from './cursors.ts';
import type { LeaseGrant, LeaseStore, LeaseTimes, SweepRole } from './lease-store.ts';
import { emptyResult, type SweepResult } from './sweep-result.ts';

/** A pass ended before it was done. The next pass does the rest. */
export class PassEndedError extends SchedulerError {}

/** The lease ended, or another sweeper took it. */
export class LeaseLostError extends PassEndedError {
  constructor() {
    super('lease_lost', "the sweeper's lease is over", { retryable: true });
  }
}

/** The pass ended because the process has to stop. */
export class PassStoppedError extends PassEndedError {
  constructor() {
    super('pass_stopped', 'the pass was stopped', { retryable: true });
  }
}

/** One pass under the lease, from taking it to freeing it. */
export interface Pass {
  readonly grant: LeaseGrant;
  readonly role: SweepRole;
  /** Places that the next pass gets. They are stored when the pass ends. */
  readonly cursors: Cursors;
  readonly result: SweepResult;
  /** Time of `run_at` up to which everything has been checked; null if the watermark has not moved. */
  watermark: string | null;
  /** Renews the lease if that is due. Call it before every page. @throws PassEndedError */
  keep(): Promise<void>;
  /** @throws LeaseLostError */
  end(): Promise<void>;
}

/**
 * Share of the lease after which it is renewed before the next statement. The rest is longer than a statement may
 * take.
 */
const RENEW_SHARE = 1 / 5;

export interface PassOptions {
  readonly store: Pick<LeaseStore, 'takeLease' | 'renewLease' | 'endPass'>;
  readonly holder: string;
  readonly role: SweepRole;
  readonly times: LeaseTimes;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** Takes the lease. @returns null while another sweeper holds it */
export async function beginPass({ store, holder, role, times, clock, signal }: PassOptions): Promise<Pass | null> {
  let renewedMs = clock.monotonicMs();
  const grant = await store.takeLease(holder, times);
  if (grant === null) return null;
  const cursors = cursorsOf(grant.cursors);

  const pass: Pass = {
    grant,
    role,
    cursors,
    result: emptyResult(role),
    watermark: null,
    async keep() {
      if (signal?.aborted === true) throw new PassStoppedError();
      const nowMs = clock.monotonicMs();
      if (nowMs - renewedMs < times.leaseMs * RENEW_SHARE) return;
      if (!(await store.renewLease(grant, times.leaseMs))) throw new LeaseLostError();
      renewedMs = nowMs;
    },
    async end() {
      const ended = await store.endPass(grant, {
        role,
        well: pass.result.well,
        watermark: pass.watermark,
        cursors: JSON.stringify(cursors),
      });
      if (!ended) throw new LeaseLostError();
    },
  };
  return pass;
}
