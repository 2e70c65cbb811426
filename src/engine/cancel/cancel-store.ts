import type { Actor } from '../../core/access/audit.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { Position, Priority } from '../../core/priority.ts';
import type { TaskStatus } from '../../core/task.ts';
import { actorValues } from '../../postgres/audit/write-audit.ts';
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
  /** Returns null if the task is unknown. A cancel that changes something leaves a row in the audit log. */
  cancel(id: string, by: Actor): Promise<CancelResult | null>;
}

const CANCEL = loadSql(import.meta.dirname, 'cancel');

export function createCancelStore(database: Pick<Database, 'run'>): CancelStore {
  return {
    async cancel(id, by) {
      for (let round = 0; round < ROUNDS; round++) {
        const [row] = await database.run<CancelRow>(CANCEL, [id, ...actorValues(by)]);
        if (row === undefined) return null;
        const { verdict, status, queue, priority, place_ms: placeMs } = row;
        if (verdict !== 'again') return { verdict, status, queue, position: { id, priority, placeMs } };
      }
      throw new StoreUnavailableError(
        'postgresql',
        new Error(`task ${id} changed while each of ${ROUNDS} cancels waited`),
      );
    },
  };
}

/** A task can move between two statements, but a task that moves this often is being requeued in a loop. */
const ROUNDS = 5;

interface CancelRow {
  readonly verdict: CancelResult['verdict'] | 'again';
  readonly status: TaskStatus;
  readonly queue: string;
  readonly priority: Priority;
  readonly place_ms: number;
}
