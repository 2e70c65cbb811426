import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Who runs a pass: the process made for it, or a worker or an API process that stands in. */
export type SweepRole = 'reclaimer' | 'worker' | 'api';

/** Why an entry of Redis was put right. */
export const RECONCILE_CAUSES = ['watermark', 'scan', 'rebuild', 'claim', 'stale'] as const;
export type ReconcileCause = (typeof RECONCILE_CAUSES)[number];

/** What every write of a pass carries; once the lease is over, the write does nothing. */
export interface LeaseToken {
  readonly holder: string;
  readonly pass: number;
}

/** A lease as it was taken. Times of `run_at` are texts, which keep their microseconds and infinities. */
export interface LeaseGrant extends LeaseToken {
  /** The watermark looks at tasks that were due after `rangeFrom` … */
  readonly rangeFrom: string;
  /** … up to this. */
  readonly rangeTo: string;
  /** JSON text that the last pass left. */
  readonly cursors: string;
  /** Milliseconds since 1970 by PostgreSQL's clock. */
  readonly nowMs: number;
  /** Milliseconds since a pass last ended well; null if none ever did. */
  readonly idleMs: number | null;
}

export interface LeaseLook {
  readonly holder: string;
  readonly free: boolean;
  readonly idleMs: number | null;
}

/** How a pass ended. */
export interface PassEnd {
  readonly role: SweepRole;
  /** Whether reclaim and reconcile were done; only such a pass counts for those who watch over the sweep. */
  readonly well: boolean;
  /** Time of `run_at` up to which Redis has been checked; null leaves the mark. */
  readonly watermark: string | null;
  /** JSON text. */
  readonly cursors: string;
}

/**
 * What a pass adds to the totals: tasks taken back from dead workers, those of them that went to the dead letters,
 * and entries of Redis put right, by cause.
 */
export interface SweepTotals {
  readonly reclaimed: number;
  readonly buried: number;
  readonly reconciled: Readonly<Record<ReconcileCause, number>>;
  /** Names of the duties that failed. */
  readonly failed: readonly string[];
}

export interface LeaseTimes {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
}

/** The lease of the sweeper. All methods throw `StoreUnavailableError` when PostgreSQL did not answer, in which case their effect may have happened. */
export interface LeaseStore {
  /** Null while another holder has the lease. */
  takeLease(holder: string, times: LeaseTimes): Promise<LeaseGrant | null>;
  /** False once the lease is over. */
  renewLease(token: LeaseToken, leaseMs: number): Promise<boolean>;
  /** Frees the lease and keeps what the pass came to; false once the lease is over. */
  endPass(token: LeaseToken, end: PassEnd): Promise<boolean>;
  lookAtLease(): Promise<LeaseLook>;
  /** Adds to the totals that the API exports, whatever has become of the lease. */
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
