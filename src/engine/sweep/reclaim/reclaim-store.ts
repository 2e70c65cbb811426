import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../../config/timings.ts';
import type { Position } from '../../../core/priority.ts';
import type { Database } from '../../../postgres/database.ts';
import { loadSql } from '../../../postgres/sql.ts';
import { positionOfRow, type PositionRow } from '../../order/position-row.ts';
import type { LeaseToken } from '../lease-store.ts';

export interface ReclaimedTask {
  readonly queue: string;
  readonly position: Position;
  /** `reclaim`: the task waits again; `fail`: it was lost too often; `abort`: a cancel request was pending. */
  readonly verb: 'reclaim' | 'fail' | 'abort';
  /** The attempt that was lost. */
  readonly attempt: number;
  readonly lost: number;
  readonly traceId: string;
}

/**
 * Takes tasks back from workers. Every method throws `StoreUnavailableError` when PostgreSQL did not answer; its effect
 * may still have happened.
 */
export interface ReclaimStore {
  /** Returns the ids of the workers that PROCESSING rows name. */
  processingWorkers(): Promise<string[]>;
  /**
   * Takes back at most `most` tasks of a dead worker.
   * @param error JSON text for the execution log of their attempts
   */
  reclaim(token: LeaseToken, workerId: string, lostCap: number, most: number, error: string): Promise<ReclaimedTask[]>;
}

const PROCESSING_WORKERS = loadSql(import.meta.dirname, 'processing-workers');
const RECLAIM = loadSql(import.meta.dirname, 'reclaim');

export function createReclaimStore({ runWithin }: Pick<Database, 'runWithin'>): ReclaimStore {
  const runShort = runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    async processingWorkers() {
      const rows = await runShort<{ worker_id: string }>(PROCESSING_WORKERS, []);
      return rows.map((row) => row.worker_id);
    },
    async reclaim({ holder, pass }, workerId, lostCap, most, error) {
      const rows = await runShort<ReclaimRow>(RECLAIM, [holder, pass, workerId, lostCap, most, error]);
      return rows.map(({ queue, verb, attempt, lost, trace_id, ...row }) => ({
        queue,
        position: positionOfRow(row),
        verb,
        attempt,
        lost,
        traceId: trace_id,
      }));
    },
  };
}

interface ReclaimRow extends PositionRow {
  readonly queue: string;
  readonly verb: ReclaimedTask['verb'];
  readonly attempt: number;
  readonly lost: number;
  readonly trace_id: string;
}
