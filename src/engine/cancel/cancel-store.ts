import type { Position, Priority } from '../../core/priority.ts';
import type { TaskStatus } from '../../core/task.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** The result of a request to cancel; `finished` means that nothing was changed. */
export interface CancelResult {
  readonly verdict: 'cancelled' | 'requested' | 'already' | 'finished';
  readonly status: TaskStatus;
  readonly queue: string;
  readonly position: Position;
}

/** Cancels tasks. Throws the errors of `Database`. */
export interface CancelStore {
  /** Returns null if the task is unknown. */
  cancel(id: string): Promise<CancelResult | null>;
}

const CANCEL = loadSql(import.meta.dirname, 'cancel');

export function createCancelStore(database: Pick<Database, 'run'>): CancelStore {
  return {
    async cancel(id) {
      const [row] = await database.run<CancelRow>(CANCEL, [id]);
      if (row === undefined) return null;
      const { verdict, status, queue, priority, place_ms: placeMs } = row;
      return { verdict, status, queue, position: { id, priority, placeMs } };
    },
  };
}

interface CancelRow {
  readonly verdict: CancelResult['verdict'];
  readonly status: TaskStatus;
  readonly queue: string;
  readonly priority: Priority;
  readonly place_ms: number;
}
