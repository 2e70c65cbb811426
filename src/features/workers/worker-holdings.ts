import type { Database } from '../../postgres/database.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';
import { loadSql } from '../../postgres/sql.ts';

/** The tasks that a worker holds according to PostgreSQL. */
export interface WorkerHoldings {
  readonly workerId: string;
  /** Number of tasks, counted up to a thousand. */
  readonly held: number;
  /** Ids of the oldest tasks. */
  readonly taskIds: readonly string[];
}

const HELD_BY_WORKERS = loadSql(import.meta.dirname, 'held-by-workers');

export const WORKERS_MAX = 1_000;
const COUNTED_MAX = 1_000;
const IDS_MAX = 20;

/**
 * Loads the holdings of the workers that running tasks name, at most a thousand workers. Only tasks of visible queues count,
 * but workers without such tasks are among the rows.
 * @throws StoreUnavailableError
 */
export async function loadWorkerHoldings(database: Database, visible: VisibleQueues): Promise<WorkerHoldings[]> {
  const rows = await database.run<{ worker_id: string; held: number; task_ids: string[] }>(HELD_BY_WORKERS, [
    WORKERS_MAX,
    COUNTED_MAX,
    IDS_MAX,
    visible,
  ]);
  return rows.map(({ worker_id: workerId, held, task_ids: taskIds }) => ({ workerId, held, taskIds }));
}
