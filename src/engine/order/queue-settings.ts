import type { Database, Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** A queue as PostgreSQL holds it. */
export interface QueueRow {
  readonly name: string;
  /** Grows with every change of the row; 0 for a queue that has none yet. */
  readonly version: number;
  readonly paused: boolean;
}

const ALL_QUEUE_SETTINGS = loadSql(import.meta.dirname, 'all-queue-settings');
const QUEUE_SETTINGS = loadSql(import.meta.dirname, 'queue-settings');

/**
 * What a claim has to know of queues, in the given order. One without a row, to which nobody has submitted yet, is open.
 * @throws StoreUnavailableError
 */
export async function loadQueueSettings(database: Database, names: readonly string[]): Promise<QueueRow[]> {
  const rows = await database.run<QueueRow>(QUEUE_SETTINGS, [names]);
  const byName = new Map(rows.map((row) => [row.name, row]));
  return names.map((name) => byName.get(name) ?? { name, version: 0, paused: false });
}

/** Every queue that there is. @throws StoreUnavailableError */
export function loadAllQueueSettings(run: Run): Promise<QueueRow[]> {
  return run<QueueRow>(ALL_QUEUE_SETTINGS, []);
}
