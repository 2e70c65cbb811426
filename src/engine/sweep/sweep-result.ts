import type { ReconcileCause, SweepRole } from './lease-store.ts';
import type { DutyName } from './duty.ts';

/** What one pass came to. */
export interface SweepResult {
  readonly role: SweepRole;
  /** Tasks of dead workers that wait again … */
  reclaimed: number;
  /** … went to the dead letters … */
  buried: number;
  /** … or were cancelled. */
  cancelled: number;
  readonly reconciled: Record<ReconcileCause, number>;
  /** How much of what was deleted since nobody wants it any more. Duties of features add their own. */
  readonly pruned: { keys: number; tasks: number; days: number; [what: string]: number };
  /** Duties that failed, or `WHOLE_PASS`; everything behind them ran all the same. */
  readonly failed: DutyName[];
  /** Whether reclaim and reconcile were done, whatever became of the housekeeping. */
  well: boolean;
  /** Queues that were declared whole after a rebuild. */
  rebuilt: number;
  /** Somebody who holds something is late with a beat: the next pass should come soon. */
  silent: boolean;
  /** Those who hold something and were not late enough yet to be asked for: ids of workers. */
  inTime: readonly string[];
  /** A duty was not finished: the next pass should come at once. */
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
    failed: [],
    well: true,
    rebuilt: 0,
    silent: false,
    inTime: [],
    more: false,
  };
}
