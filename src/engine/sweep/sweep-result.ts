import type { ReconcileCause, SweepRole } from './lease-store.ts';

/** The name of a duty in logs and metrics. */
export type DutyName = string;

/**
 * Counted beside the names of duties when a whole pass fails: Redis refused before the first duty, or the lease could
 * not be renewed or freed.
 */
export const WHOLE_PASS: DutyName = 'pass';

/** The result of one pass. */
export interface SweepResult {
  readonly role: SweepRole;
  /** Tasks of dead workers that wait again. */
  reclaimed: number;
  /** Tasks of dead workers that went to the dead letters. */
  buried: number;
  /** Tasks of dead workers that were cancelled. */
  cancelled: number;
  readonly reconciled: Record<ReconcileCause, number>;
  /** Number of old things that housekeeping deleted. */
  readonly pruned: { keys: number; tasks: number; days: number };
  /** Numbers that duties of features count, by a name of their choice. */
  readonly counted: Record<string, number>;
  /** Duties that failed, or `WHOLE_PASS`. Other duties run even if one of them fails. */
  readonly failed: DutyName[];
  /** Whether reclaim and reconcile were done, even if housekeeping failed. */
  well: boolean;
  /** Queues that were declared whole after a rebuild. */
  rebuilt: number;
  /** Whether a worker that holds something is late with a beat, so that the next pass should come soon. */
  silent: boolean;
  /** Ids of workers that hold something and are not late enough to ask Kubernetes about them. */
  inTime: readonly string[];
  /** Whether a duty was not finished, so that the next pass should come at once. */
  more: boolean;
}

export function emptyResult(role: SweepRole): SweepResult {
  return {
    role,
    reclaimed: 0,
    buried: 0,
    cancelled: 0,
    reconciled: { watermark: 0, scan: 0, rebuild: 0, claim: 0, stale: 0 },
    pruned: { keys: 0, tasks: 0, days: 0 },
    counted: {},
    failed: [],
    well: true,
    rebuilt: 0,
    silent: false,
    inTime: [],
    more: false,
  };
}
