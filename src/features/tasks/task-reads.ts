import type { Reader } from '../../postgres/reads/reader.ts';
import {
  type Counted,
  type Found,
  firstOfCounted,
  PAGE_BYTES_MAX,
  SEARCH_LIMITS,
} from '../../postgres/reads/search.ts';
import { oneId, tasksWithStates } from '../../postgres/reads/task-states.ts';
import { withinBytes } from '../../postgres/reads/within-bytes.ts';
import type { TaskFilter } from './task-filter.ts';
import { listTasks } from './task-list.ts';
import { ATTEMPT_COLUMNS, type AttemptRow, type TaskRow } from './task-row.ts';

/** Reads tasks for the API. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface TaskReads {
  exists(id: string): Promise<boolean>;
  /** Lists tasks with ids below `beforeId`, newest first. */
  list(
    filter: TaskFilter,
    beforeId: string | null,
    limit: number,
    withPayload: boolean,
  ): Promise<Found<TaskRow, string>>;
  /** Lists the attempts after the attempt `after`, oldest first. */
  attempts(id: string, after: number, limit: number): Promise<Found<AttemptRow, number>>;
  /** Reads a task and its latest attempts in one snapshot. The attempts are oldest first, as many as fit in a page. */
  findWithAttempts(
    id: string,
    most: number,
  ): Promise<{ readonly task: TaskRow; readonly attempts: readonly AttemptRow[] } | null>;
}

type Snapshot = Pick<Reader, 'read'>;

export function createTaskReads(reader: Reader, limits = SEARCH_LIMITS): TaskReads {
  return {
    findWithAttempts: (id, most) =>
      reader.snapshot(async (snapshot) => {
        const task = await find(snapshot, id);
        if (task === null) return null;
        const attempts = await readAttempts(snapshot, 'latest-attempts', id, 0, 'desc', most);
        return { task, attempts: attempts.toReversed() };
      }),

    async exists(id) {
      const row = await reader.read('task-exists', (db) =>
        db.selectFrom('submissions').select('id').where('id', '=', id).executeTakeFirst(),
      );
      return row !== undefined;
    },

    list: (filter, beforeId, limit, withPayload) => listTasks(reader, limits, filter, beforeId, limit, withPayload),

    async attempts(id, after, limit) {
      const rows = await readAttempts(reader, 'list-attempts', id, after, 'asc', limit + 1);
      return firstOfCounted(rows, limit, ({ attempt }) => attempt);
    },
  };
}

async function find(reader: Snapshot, id: string): Promise<TaskRow | null> {
  const row = await reader.read('find-task', (db) =>
    tasksWithStates(db, oneId(db, id)).select('s.payload').executeTakeFirst(),
  );
  return (row as TaskRow | undefined) ?? null;
}

/** Reads the attempts after `after` in the given order, up to the first that exceeds `PAGE_BYTES_MAX` in total. */
async function readAttempts(
  reader: Snapshot,
  name: string,
  id: string,
  after: number,
  order: 'asc' | 'desc',
  most: number,
): Promise<(AttemptRow & Counted)[]> {
  const rows = await reader.read(name, (db) => {
    const earlier = db
      .selectFrom('attempts')
      .select(ATTEMPT_COLUMNS)
      .where('task_id', '=', id)
      .where('attempt', '>', after)
      .orderBy('attempt', order)
      .limit(most);
    const last = db
      .selectFrom('finished')
      .select(ATTEMPT_COLUMNS)
      .where('id', '=', id)
      .where('worker_id', 'is not', null)
      .where('attempt', '>', after);
    const running = db
      .selectFrom('unfinished')
      .select(['attempt', 'worker_id', 'started_at', 'ordinal'])
      .select((eb) => (['finished_at', 'outcome', 'error', 'result'] as const).map((column) => eb.val(null).as(column)))
      .where('id', '=', id)
      .where('status', '=', 'PROCESSING')
      .where('attempt', '>', after);
    const all = db
      .selectFrom(earlier.as('earlier'))
      .selectAll()
      .unionAll(last as never)
      .unionAll(running as never);
    const next = db.selectFrom(all.as('all')).selectAll().orderBy('attempt', order).limit(most);
    return withinBytes(db, {
      rows: next,
      columns: ATTEMPT_COLUMNS,
      longColumns: ['error', 'result'],
      order: [['attempt', order]],
      mostBytes: PAGE_BYTES_MAX,
    });
  });
  return rows as (AttemptRow & Counted)[];
}
