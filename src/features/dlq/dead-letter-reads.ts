import type { Priority } from '../../core/priority.ts';
import type { TaskStatus } from '../../core/task.ts';
import { lookedSlice } from '../../postgres/reads/looked-slice.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import { type Found, SEARCH_LIMITS, type Slice, search, sliceOf } from '../../postgres/reads/search.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';
import { oneId, withStates } from '../../postgres/reads/task-states.ts';
import type { DeadLetterReason } from '../../postgres/schema/entities/tasks/dead-letter.ts';
import type { DeadLetterFilter } from './requeue-store.ts';

/** A row of `dlq`. Times are in PostgreSQL's text format, and `errors` is JSON text. */
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

/** The position at which a page ended. */
export interface DeadLetterPosition {
  /** In PostgreSQL's text format, to the microsecond. */
  readonly failedAt: string;
  readonly taskId: string;
}

export type ListedDeadLetters = Omit<DeadLetterFilter, 'errorContains'>;

/** Reads dead letters for the API. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface DeadLetterReads {
  /** Lists dead letters, newest failure first. If `requeued` is null, it lists open and requeued ones. */
  list(
    filter: ListedDeadLetters,
    queues: VisibleQueues,
    requeued: boolean | null,
    before: DeadLetterPosition | null,
    limit: number,
  ): Promise<Found<DeadLetterRow, DeadLetterPosition>>;
  /** Returns the latest dead letter of a task in one of the queues. */
  find(taskId: string, queues: VisibleQueues): Promise<DeadLetterRow | null>;
  /** Returns null if no task in one of the queues has the id. */
  statusOfTask(taskId: string, queues: VisibleQueues): Promise<TaskStatus | null>;
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

const NEWEST_FIRST = [
  ['failed_at', 'desc'],
  ['task_id', 'desc'],
] as const;

export function createDeadLetterReads(reader: Reader, limits = SEARCH_LIMITS): DeadLetterReads {
  const { sliceRows } = limits;

  const readSlice = async (
    { queue, action, reason, failedAfter, failedBefore }: ListedDeadLetters,
    queues: VisibleQueues,
    requeued: boolean | null,
    from: DeadLetterPosition | null,
    most: number,
    mostBytes: number,
  ): Promise<Slice<DeadLetterRow, DeadLetterPosition>> => {
    const rows = await reader.read('list-dead-letters', (db) => {
      let next = db
        .selectFrom('dlq')
        .select(COLUMNS)
        .orderBy('failed_at', 'desc')
        .orderBy('task_id', 'desc')
        .limit(sliceRows);
      // This condition belongs in the inner query, so that it can use the index of open dead letters.
      if (requeued === false) next = next.where('requeued_at', 'is', null);
      if (failedAfter !== null) next = next.where('failed_at', '>=', failedAfter);
      if (failedBefore !== null) next = next.where('failed_at', '<', failedBefore);
      if (from !== null) {
        next = next.where((eb) => eb(eb.refTuple('failed_at', 'task_id'), '<', eb.tuple(from.failedAt, from.taskId)));
      }
      const looked = db
        .selectFrom(next.as('next'))
        .select(COLUMNS)
        .select((eb) =>
          eb
            .and([
              ...(requeued === true ? [eb('requeued_at', 'is not', null)] : []),
              ...(queues === null ? [] : [eb('queue', '~', queues)]),
              ...(queue === null ? [] : [eb('queue', '=', queue)]),
              ...(action === null ? [] : [eb('action', '=', action)]),
              ...(reason === null ? [] : [eb('reason', '=', reason)]),
            ])
            .as('fits'),
        );
      return lookedSlice<DeadLetterRow>(db, {
        looked,
        columns: COLUMNS,
        longColumns: ['errors'],
        order: NEWEST_FIRST,
        sliceRows,
        most,
        mostBytes,
      }).execute();
    });
    return sliceOf(rows, sliceRows, positionOf);
  };

  return {
    list: (filter, queues, requeued, before, limit) =>
      search(limits, before, limit, positionOf, (from, most, mostBytes) =>
        readSlice(filter, queues, requeued, from, most, mostBytes),
      ),

    async find(taskId, queues) {
      const row = await reader.read('find-dead-letter', (db) => {
        const letters = db.selectFrom('dlq').select(COLUMNS).where('task_id', '=', taskId);
        const seen = queues === null ? letters : letters.where('queue', '~', queues);
        return seen.orderBy('attempt', 'desc').limit(1).executeTakeFirst();
      });
      return (row as DeadLetterRow | undefined) ?? null;
    },

    async statusOfTask(taskId, queues) {
      const row = await reader.read('find-task-status', (db) => {
        const task = withStates(db, oneId(db, taskId));
        return (queues === null ? task : task.where('s.queue', '~', queues)).executeTakeFirst();
      });
      return row?.status ?? null;
    },
  };
}

function positionOf({ failed_at, task_id }: DeadLetterRow): DeadLetterPosition {
  return { failedAt: failed_at, taskId: task_id };
}
