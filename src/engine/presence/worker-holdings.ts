import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** What a worker holds by PostgreSQL, whatever it says of itself. */
export interface WorkerHoldings {
  readonly workerId: string;
  /** Tasks, of which no more than a thousand are counted. */
  readonly held: number;
  /** The oldest of them. */
  readonly taskIds: readonly string[];
}

const HELD_BY_WORKERS = loadSql(import.meta.dirname, 'held-by-workers');

export const WORKERS_MAX = 1_000;
const COUNTED_MAX = 1_000;
const IDS_MAX = 20;

/**
 * Of every worker that a running task names, at most a thousand of them.
 * @throws StoreUnavailableError
 */
export async function loadWorkerHoldings(database: Database): Promise<WorkerHoldings[]> {
  const rows = await database.run<{ worker_id: string; held: number; task_ids: string[] }>(HELD_BY_WORKERS, [
    WORKERS_MAX,
    COUNTED_MAX,
    IDS_MAX,
  ]);
  return rows.map(({ worker_id: workerId, held, task_ids: taskIds }) => ({ workerId, held, taskIds }));
}
