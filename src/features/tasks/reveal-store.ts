import type { Actor } from '../../core/access/audit.ts';
import { actorValues } from '../../postgres/audit/write-audit.ts';
import type { Database } from '../../postgres/database.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';
import { loadSql } from '../../postgres/sql.ts';

/** What a task contains, with nothing hidden. JSON columns are text. */
export interface RevealedTask {
  readonly queue: string;
  /** The execution that the result belongs to; null for a task that was not kept. */
  readonly attempt: number | null;
  readonly payload: string;
  readonly progress: string | null;
  readonly result: string | null;
}

/** Reveals tasks. Throws the errors of `Database`. */
export interface RevealStore {
  /**
   * Reads a task in one of the queues, and leaves a row in the audit log with the same statement.
   * @param attempt the execution whose result is read; null: the latest one
   * @returns null if there is no such task
   */
  reveal(id: string, attempt: number | null, queues: VisibleQueues, by: Actor): Promise<RevealedTask | null>;
}

const REVEAL = loadSql(import.meta.dirname, 'reveal');

export function createRevealStore(database: Pick<Database, 'run'>): RevealStore {
  return {
    async reveal(id, attempt, queues, by) {
      const [row] = await database.run<RevealedTask>(REVEAL, [id, attempt, queues, ...actorValues(by)]);
      return row ?? null;
    },
  };
}
