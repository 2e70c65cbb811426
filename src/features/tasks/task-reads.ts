import type { Reader } from '../../postgres/reads/reader.ts';
import {
  type Counted,
  type Found,
  firstOfCounted,
  PAGE_BYTES_MAX,
  SEARCH_LIMITS,
} from '../../postgres/reads/search.ts';
import type { Sight, VisibleQueues } from '../../postgres/reads/sight.ts';
import { oneId, tasksWithStates } from '../../postgres/reads/task-states.ts';
import { withinBytes } from '../../postgres/reads/within-bytes.ts';
import type { TaskFilter } from './task-filter.ts';
import { listTasks } from './task-list.ts';
import type { Database } from './task-places.ts';
import { ATTEMPT_COLUMNS, ATTEMPT_COLUMNS_WITHOUT_RESULT, type AttemptRow, type TaskRow } from './task-row.ts';

/** Reads tasks for the API. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface TaskReads {
  /** Returns the action of a task in one of the queues; null if there is no such task. Neither ever changes. */
  submission(id: string, queues: VisibleQueues): Promise<Pick<TaskRow, 'action'> | null>;
  /** Lists tasks with ids below `beforeId`, newest first. */
  list(
    filter: TaskFilter,
    sight: Sight,
    beforeId: string | null,
    limit: number,
    withPayload: boolean,
  ): Promise<Found<TaskRow, string>>;
  /** Lists the attempts after the attempt `after`, oldest first. */
  attempts(
    id: string,
    after: number,
    limit: number,
    sight: Pick<Sight, 'contents'>,
  ): Promise<Found<AttemptRow, number>>;
  /**
   * Reads a task and its latest attempts in one statement. The attempts are oldest first, as many as fit in a page. Returns
   * null if the task does not exist in one of the visible queues.
   */
  findWithAttempts(
    id: string,
    most: number,
    sight: Sight,
  ): Promise<{ readonly task: TaskRow; readonly attempts: readonly AttemptRow[] } | null>;
}

export function createTaskReads(reader: Reader, limits = SEARCH_LIMITS): TaskReads {
  return {
    async findWithAttempts(id, most, { queues, contents }) {
      const columns = attemptColumns(contents);
      const row = await reader.read('find-task', (db) => {
        const task = tasksWithStates(db, oneId(db, id));
        const seen = queues === null ? task : task.where('s.queue', '~', queues);
        const latest = { id, after: 0, order: 'desc', most, columns } as const;
        return db
          .selectFrom((contents ? seen.select('s.payload') : seen).as('task'))
          .selectAll()
          .select(inOneColumn(db, attemptsOf(db, latest), columns))
          .executeTakeFirst();
      });
      if (row === undefined) return null;
      const { attempts, ...task } = row as unknown as TaskRow & { readonly attempts: string };
      return { task, attempts: attemptRows(attempts, columns) };
    },

    async submission(id, queues) {
      const row = await reader.read('find-submission', (db) => {
        const task = db.selectFrom('submissions').select('action').where('id', '=', id);
        return (queues === null ? task : task.where('queue', '~', queues)).executeTakeFirst();
      });
      return row ?? null;
    },

    list(filter, { queues, contents }, beforeId, limit, withPayload) {
      const query = { filter: { ...filter, visible: queues }, withPayload, withProgress: contents };
      return listTasks(reader, limits, query, beforeId, limit);
    },

    async attempts(id, after, limit, { contents }) {
      const wanted = { id, after, order: 'asc', most: limit + 1, columns: attemptColumns(contents) } as const;
      const rows = await reader.read('list-attempts', (db) => attemptsOf(db, wanted).execute());
      return firstOfCounted(rows, limit, ({ attempt }) => attempt);
    },
  };
}

type AttemptColumn = (typeof ATTEMPT_COLUMNS)[number];

/** What is not shown is not read, so that it cannot end a page by its length. */
function attemptColumns(contents: boolean): readonly AttemptColumn[] {
  return contents ? ATTEMPT_COLUMNS : ATTEMPT_COLUMNS_WITHOUT_RESULT;
}

interface WantedAttempts {
  readonly id: string;
  readonly after: number;
  readonly order: 'asc' | 'desc';
  readonly most: number;
  readonly columns: readonly AttemptColumn[];
}

/** Columns that a running attempt does not have yet. */
const NOT_YET: ReadonlySet<AttemptColumn> = new Set(['finished_at', 'outcome', 'error', 'result']);

/** Selects the attempts after `after` in the given order, up to the first that exceeds `PAGE_BYTES_MAX` in total. */
function attemptsOf(db: Database, { id, after, order, most, columns }: WantedAttempts) {
  const earlier = db
    .selectFrom('attempts')
    .select(columns)
    .where('task_id', '=', id)
    .where('attempt', '>', after)
    .orderBy('attempt', order)
    .limit(most);
  const last = db
    .selectFrom('finished')
    .select(columns)
    .where('id', '=', id)
    .where('worker_id', 'is not', null)
    .where('attempt', '>', after);
  const running = db
    .selectFrom('unfinished')
    .select(['attempt', 'worker_id', 'started_at', 'ordinal'])
    .select((eb) => columns.filter((column) => NOT_YET.has(column)).map((column) => eb.val(null).as(column)))
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
    columns,
    longColumns: columns.filter((column) => column === 'error' || column === 'result'),
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
function inOneColumn(db: Database, attempts: ReturnType<typeof attemptsOf>, columns: readonly AttemptColumn[]) {
  return db
    .selectFrom(attempts.as('shown'))
    .select((eb) => {
      const texts = columns.map((column) =>
        AS_TEXT.has(column) ? eb.cast<string>(eb.ref(column), 'text') : eb.ref(column),
      );
      const gathered = eb.fn.agg<string>('json_agg', [eb.fn('json_build_array', texts)]).orderBy('attempt');
      return eb.fn.coalesce(gathered, eb.cast<string>(eb.val('[]'), 'json')).as('attempts');
    })
    .as('attempts');
}

function attemptRows(text: string, columns: readonly AttemptColumn[]): AttemptRow[] {
  return (JSON.parse(text) as unknown[][]).map(
    (values) => Object.fromEntries(columns.map((column, i) => [column, values[i]])) as unknown as AttemptRow,
  );
}
