import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** The kind of process that runs a pass: the reclaimer, or a worker or API process as a stand-in. */
export type SweepRole = 'reclaimer' | 'worker' | 'api';

/** Why an entry in Redis was corrected. */
export const RECONCILE_CAUSES = ['watermark', 'scan', 'rebuild', 'claim', 'stale'] as const;
export type ReconcileCause = (typeof RECONCILE_CAUSES)[number];

/** Every write of a pass carries this token. Once the lease is over, the write does nothing. */
export interface LeaseToken {
  readonly holder: string;
  readonly pass: number;
}

/** A lease that was taken. Times of `run_at` are strings, because these keep microseconds and infinities. */
export interface LeaseGrant extends LeaseToken {
  /** The watermark checks tasks that became due after this time. */
  readonly rangeFrom: string;
  /** The watermark checks tasks that became due up to this time. */
  readonly rangeTo: string;
  /** JSON text from the last pass. */
  readonly cursors: string;
  /** Milliseconds since 1970 by PostgreSQL's clock. */
  readonly nowMs: number;
  /** Milliseconds since the last successful pass; null if there was none. */
  readonly idleMs: number | null;
}

export interface LeaseLook {
  readonly holder: string;
  readonly free: boolean;
  readonly idleMs: number | null;
}

/** The end of a pass. */
export interface PassEnd {
  readonly role: SweepRole;
  /** Whether reclaim and reconcile were done. Monitoring and stand-ins count only such a pass. */
  readonly well: boolean;
  /** Time of `run_at` up to which Redis has been checked; null does not move the watermark. */
  readonly watermark: string | null;
  /** JSON text. */
  readonly cursors: string;
}

/** The numbers that a pass adds to the totals. */
export interface SweepTotals {
  /** Tasks taken back from dead workers, whatever became of them. */
  readonly reclaimed: number;
  /** Reclaimed tasks that went to the dead letters. */
  readonly buried: number;
  /** Corrected entries in Redis, by cause. */
  readonly reconciled: Readonly<Record<ReconcileCause, number>>;
  /** Names of the duties that failed. */
  readonly failed: readonly string[];
}

export interface LeaseTimes {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
}

/**
 * The lease of the sweeper. Every method throws `StoreUnavailableError` when PostgreSQL did not answer; its effect may
 * still have happened.
 */
export interface LeaseStore {
  /** Returns null while another holder has the lease. */
  takeLease(holder: string, times: LeaseTimes): Promise<LeaseGrant | null>;
  /** Returns false once the lease is over. */
  renewLease(token: LeaseToken, leaseMs: number): Promise<boolean>;
  /** Frees the lease and stores the results of the pass. Returns false once the lease is over. */
  endPass(token: LeaseToken, end: PassEnd): Promise<boolean>;
  lookAtLease(): Promise<LeaseLook>;
  /** Adds to the totals that the API exports. It does not need the lease. */
  addTotals(totals: SweepTotals): Promise<void>;
}

const TAKE_LEASE = loadSql(import.meta.dirname, 'take-lease');
const RENEW_LEASE = loadSql(import.meta.dirname, 'renew-lease');
const END_PASS = loadSql(import.meta.dirname, 'end-pass');
const ADD_SWEEP_TOTALS = loadSql(import.meta.dirname, 'add-sweep-totals');
const LOOK_AT_LEASE = loadSql(import.meta.dirname, 'look-at-lease');

export function createLeaseStore({ run }: Pick<Database, 'run'>): LeaseStore {
  return {
    async takeLease(holder, { leaseMs, overlapMs, lagMs }) {
      const [row] = await run<LeaseRow>(TAKE_LEASE, [holder, leaseMs, overlapMs, lagMs]);
      if (row === undefined) return null;
      const { pass, range_from: rangeFrom, range_to: rangeTo, cursors, now_ms: nowMs, idle_ms: idleMs } = row;
      return { holder, pass, rangeFrom, rangeTo, cursors, nowMs, idleMs };
    },
    async renewLease({ holder, pass }, leaseMs) {
      return (await run(RENEW_LEASE, [holder, pass, leaseMs])).length > 0;
    },
    async endPass({ holder, pass }, { watermark, cursors, role, well }) {
      return (await run(END_PASS, [holder, pass, watermark, cursors, role, well])).length > 0;
    },
    async lookAtLease() {
      const [row] = await run<LookRow>(LOOK_AT_LEASE, []);
      return row === undefined
        ? { holder: '', free: false, idleMs: null }
        : { holder: row.holder, free: row.free, idleMs: row.idle_ms };
    },

    async addTotals({ reclaimed, buried, reconciled, failed }) {
      await run(ADD_SWEEP_TOTALS, [reclaimed, ...RECONCILE_CAUSES.map((cause) => reconciled[cause]), buried, failed]);
    },
  };
}

interface LeaseRow {
  readonly pass: number;
  readonly range_from: string;
  readonly range_to: string;
  readonly cursors: string;
  readonly now_ms: number;
  readonly idle_ms: number | null;
}

interface LookRow {
  readonly holder: string;
  readonly free: boolean;
  readonly idle_ms: number | null;
}
