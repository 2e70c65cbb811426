import type { Database, Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** A queue as it is stored in PostgreSQL. */
export interface QueueRow {
  readonly name: string;
  /** Grows with every change of the row; 0 for a queue without a row. */
  readonly version: number;
  readonly paused: boolean;
}

/** A queue with the settings that people see. */
export interface StoredQueue extends QueueRow {
  /** False if nothing is kept of its tasks that complete, except their submissions. */
  readonly keep_completed: boolean;
}

const ALL_QUEUE_SETTINGS = loadSql(import.meta.dirname, 'all-queue-settings');
const QUEUE_SETTINGS = loadSql(import.meta.dirname, 'queue-settings');

/**
 * Loads the settings that a claim needs, in the given order. A queue without a row has had no submission yet and is
 * open.
 * @throws StoreUnavailableError
 */
export async function loadQueueSettings(database: Database, names: readonly string[]): Promise<QueueRow[]> {
  const rows = await database.run<QueueRow>(QUEUE_SETTINGS, [names]);
  const byName = new Map(rows.map((row) => [row.name, row]));
  return names.map((name) => byName.get(name) ?? { name, version: 0, paused: false });
}

/** Loads the settings of all queues. @throws StoreUnavailableError */
export function loadAllQueueSettings(run: Run): Promise<QueueRow[]> {
  return run<QueueRow>(ALL_QUEUE_SETTINGS, []);
}
