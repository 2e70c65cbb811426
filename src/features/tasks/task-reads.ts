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
import type { Database } from './task-places.ts';
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
  /** Reads a task and its latest attempts in one statement. The attempts are oldest first, as many as fit in a page. */
  findWithAttempts(
    id: string,
    most: number,
  ): Promise<{ readonly task: TaskRow; readonly attempts: readonly AttemptRow[] } | null>;
}

export function createTaskReads(reader: Reader, limits = SEARCH_LIMITS): TaskReads {
  return {
    async findWithAttempts(id, most) {
      const row = await reader.read('find-task', (db) =>
        db
          .selectFrom(tasksWithStates(db, oneId(db, id)).select('s.payload').as('task'))
          .selectAll()
          .select(inOneColumn(db, attemptsOf(db, id, 0, 'desc', most)))
          .executeTakeFirst(),
      );
      if (row === undefined) return null;
      const { attempts, ...task } = row as unknown as TaskRow & { readonly attempts: string };
      return { task, attempts: attemptRows(attempts) };
    },

    async exists(id) {
      const row = await reader.read('task-exists', (db) =>
        db.selectFrom('submissions').select('id').where('id', '=', id).executeTakeFirst(),
      );
      return row !== undefined;
    },

    list: (filter, beforeId, limit, withPayload) => listTasks(reader, limits, filter, beforeId, limit, withPayload),

    async attempts(id, after, limit) {
      const rows = await reader.read('list-attempts', (db) => attemptsOf(db, id, after, 'asc', limit + 1).execute());
      return firstOfCounted(rows, limit, ({ attempt }) => attempt);
    },
  };
}

/** Selects the attempts after `after` in the given order, up to the first that exceeds `PAGE_BYTES_MAX` in total. */
function attemptsOf(db: Database, id: string, after: number, order: 'asc' | 'desc', most: number) {
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
  return withinBytes<AttemptRow & Counted>(db, {
    rows: next,
    columns: ATTEMPT_COLUMNS,
    longColumns: ['error', 'result'],
    order: [['attempt', order]],
    mostBytes: PAGE_BYTES_MAX,
  });
}

/** The columns of an attempt that are sent as text: PostgreSQL would write them in another form inside of JSON. */
const AS_TEXT: ReadonlySet<string> = new Set(['started_at', 'finished_at', 'error', 'result']);

/**
 * Selects attempts as one column with a JSON array of them, oldest first; each is an array of its columns. So one
 * statement returns a task with its attempts.
 */
function inOneColumn(db: Database, attempts: ReturnType<typeof attemptsOf>) {
  return db
    .selectFrom(attempts.as('shown'))
    .select((eb) => {
      const columns = ATTEMPT_COLUMNS.map((column) =>
        AS_TEXT.has(column) ? eb.cast<string>(eb.ref(column), 'text') : eb.ref(column),
      );
      const gathered = eb.fn.agg<string>('json_agg', [eb.fn('json_build_array', columns)]).orderBy('attempt');
      return eb.fn.coalesce(gathered, eb.cast<string>(eb.val('[]'), 'json')).as('attempts');
    })
    .as('attempts');
}

function attemptRows(text: string): AttemptRow[] {
  return (JSON.parse(text) as unknown[][]).map(
    (values) => Object.fromEntries(ATTEMPT_COLUMNS.map((column, i) => [column, values[i]])) as unknown as AttemptRow,
  );
}
