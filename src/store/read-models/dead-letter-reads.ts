import type { Priority } from '../../core/priority.ts';
import type { DeadLetterFilter } from '../admin-store.ts';
import type { DeadLetterReason } from '../entities/dead-letter.ts';
import type { Reader } from '../orm.ts';

/** A dead letter as PostgreSQL holds it: times as PostgreSQL writes them, `errors` as JSON text. */
export interface DeadLetterRow {
  readonly task_id: string;
  readonly attempt: number;
  readonly queue: string;
  readonly action: string | null;
  readonly priority: Priority;
  readonly reason: DeadLetterReason;
  readonly errors: string;
  readonly failed_at: string;
  readonly requeued_at: string | null;
}

/** Where a page ended. */
export interface DeadLetterPosition {
  /** As PostgreSQL writes it, to the microsecond. */
  readonly failedAt: string;
  readonly taskId: string;
}

/** Reads of dead letters for people. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface DeadLetterReads {
  /** Newest failure first; `requeued` null is both open and requeued ones. */
  list(
    filter: Omit<DeadLetterFilter, 'errorContains'>,
    requeued: boolean | null,
    before: DeadLetterPosition | null,
    limit: number,
  ): Promise<DeadLetterRow[]>;
  /** The latest dead letter of a task. */
  find(taskId: string): Promise<DeadLetterRow | null>;
}

const COLUMNS = [
  'task_id',
  'attempt',
  'queue',
  'action',
  'priority',
  'reason',
  'errors',
  'failed_at',
  'requeued_at',
] as const;

export function createDeadLetterReads(reader: Reader): DeadLetterReads {
  return {
    async list({ queue, action, reason, failedAfter, failedBefore }, requeued, before, limit) {
      const rows = await reader.read((db) => {
        let query = db
          .selectFrom('dlq')
          .select(COLUMNS)
          .orderBy('failed_at', 'desc')
          .orderBy('task_id', 'desc')
          .limit(limit);
        if (requeued !== null) query = query.where('requeued_at', requeued ? 'is not' : 'is', null);
        if (queue !== null) query = query.where('queue', '=', queue);
        if (action !== null) query = query.where('action', '=', action);
        if (reason !== null) query = query.where('reason', '=', reason);
        if (failedAfter !== null) query = query.where('failed_at', '>=', failedAfter);
        if (failedBefore !== null) query = query.where('failed_at', '<', failedBefore);
        if (before !== null) {
          query = query.where((eb) =>
            eb(eb.refTuple('failed_at', 'task_id'), '<', eb.tuple(before.failedAt, before.taskId)),
          );
        }
        return query.execute();
      });
      return rows as DeadLetterRow[];
    },

    async find(taskId) {
      const row = await reader.read((db) =>
        db
          .selectFrom('dlq')
          .select(COLUMNS)
          .where('task_id', '=', taskId)
          .orderBy('attempt', 'desc')
          .limit(1)
          .executeTakeFirst(),
      );
      return (row as DeadLetterRow | undefined) ?? null;
    },
  };
}
