import { lowestIdAt } from '../../core/ids.ts';
import type { Priority } from '../../core/priority.ts';
import { WAITING_STATUSES, type AttemptOutcome, type TaskStatus } from '../../core/task.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import {
  type Counted,
  type Found,
  firstOfCounted,
  type Looked,
  PAGE_BYTES_MAX,
  SEARCH_LIMITS,
  search,
  sliceOf,
} from '../../postgres/reads/search.ts';
import { withinBytes } from '../../postgres/reads/within-bytes.ts';

/** A row of `tasks`. Times are in PostgreSQL's text format, and JSON columns are text. */
export interface TaskRow {
  readonly id: string;
  readonly queue: string;
  readonly action: string | null;
  readonly priority: Priority;
  readonly status: TaskStatus;
  readonly place_ms: number;
  readonly run_at: string;
  readonly execution_time: number | null;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly max_retries: number;
  readonly backoff: string | null;
  readonly timeout_ms: number;
  readonly metadata: string | null;
  readonly trace_id: string;
  readonly worker_id: string | null;
  readonly started_at: string | null;
  readonly cancel_requested_at: string | null;
  readonly progress: string | null;
  readonly finished_at: string | null;
  /** Undefined if the payload was not requested. */
  readonly payload?: string;
}

export interface AttemptRow {
  readonly attempt: number;
  readonly worker_id: string;
  readonly started_at: string;
  readonly ordinal: number;
  readonly finished_at: string | null;
  readonly outcome: AttemptOutcome | null;
  readonly error: string | null;
  readonly result: string | null;
}

export interface TaskFilter {
  readonly statuses?: readonly TaskStatus[] | undefined;
  readonly queue?: string | undefined;
  readonly action?: string | undefined;
  readonly priority?: Priority | undefined;
  readonly traceId?: string | undefined;
  /** Milliseconds since 1970, inclusive. */
  readonly createdAfterMs?: number | undefined;
  /** Milliseconds since 1970, exclusive. */
  readonly createdBeforeMs?: number | undefined;
}

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

const TASK_COLUMNS = [
  'id',
  'queue',
  'action',
  'priority',
  'status',
  'place_ms',
  'run_at',
  'execution_time',
  'attempt',
  'failures',
  'lost',
  'max_retries',
  'backoff',
  'timeout_ms',
  'metadata',
  'trace_id',
  'worker_id',
  'started_at',
  'cancel_requested_at',
  'progress',
  'finished_at',
] as const;

const ATTEMPT_COLUMNS = [
  'attempt',
  'worker_id',
  'started_at',
  'ordinal',
  'finished_at',
  'outcome',
  'error',
  'result',
] as const;

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
        db.selectFrom('tasks').select('id').where('id', '=', id).executeTakeFirst(),
      );
      return row !== undefined;
    },

    list: (filter, beforeId, limit, withPayload) =>
      // One snapshot for all statements. Otherwise a task that starts between two of them could be seen twice or
      // missed.
      reader.snapshot(async (snapshot) => {
        const query = { filter, withPayload, mostLooked: limits.sliceRows };
        const few = await amongFewOpen(snapshot, query, beforeId, limit + 1);
        if (few !== null) return pageOfFew(few, limit);
        return search(limits, beforeId, limit, idOf, async (from, most, mostBytes) =>
          sliceOf(await look(snapshot, query, null, from, most, mostBytes), limits.sliceRows, idOf),
        );
      }),

    async attempts(id, after, limit) {
      const rows = await readAttempts(reader, 'list-attempts', id, after, 'asc', limit + 1);
      return firstOfCounted(rows, limit, ({ attempt }) => attempt);
    },
  };
}

async function find(reader: Snapshot, id: string): Promise<TaskRow | null> {
  const row = await reader.read('find-task', (db) =>
    db.selectFrom('tasks').select(TASK_COLUMNS).select('payload').where('id', '=', id).executeTakeFirst(),
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
    const next = db
      .selectFrom('execution_logs')
      .select(ATTEMPT_COLUMNS)
      .where('task_id', '=', id)
      .where('attempt', '>', after)
      .orderBy('attempt', order)
      .limit(most);
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

const idOf = ({ id }: TaskRow): string => id;

interface ListQuery {
  readonly filter: TaskFilter;
  readonly withPayload: boolean;
  readonly mostLooked: number;
}

/** The partial indexes of unfinished tasks. */
const OPEN_INDEXES = [
  { statuses: WAITING_STATUSES, column: 'run_at' },
  { statuses: ['PROCESSING'], column: 'worker_id' },
] as const satisfies readonly { readonly statuses: readonly TaskStatus[]; readonly column: string }[];
type OpenIndex = (typeof OPEN_INDEXES)[number];

/**
 * Reads all matching tasks if only unfinished statuses are wanted and there are few unfinished tasks; otherwise returns
 * null. So running tasks are not searched for among millions of finished ones.
 */
async function amongFewOpen(
  reader: Snapshot,
  query: ListQuery,
  beforeId: string | null,
  most: number,
): Promise<(TaskRow & Counted)[][] | null> {
  const wanted = query.filter.statuses ?? [];
  const indexes = OPEN_INDEXES.filter(({ statuses }) => statuses.some((status) => wanted.includes(status)));
  const covered = indexes.flatMap<TaskStatus>(({ statuses }) => [...statuses]);
  if (wanted.length === 0 || !wanted.every((status) => covered.includes(status))) return null;
  const looks: (TaskRow & Looked & Counted)[][] = [];
  for (const index of indexes) looks.push(await look(reader, query, index, beforeId, most));
  return looks.flat().some(({ nth }) => nth === query.mostLooked) ? null : looks;
}

/**
 * Merges the rows that were found by several indexes. If the rows of one index ended at the byte limit, further rows
 * below its last one are unknown, so the page must not go below that row.
 */
function pageOfFew(looks: readonly (TaskRow & Counted)[][], limit: number): Found<TaskRow, string> {
  const ends = looks.flatMap((rows) => rows.filter(({ total }) => total >= PAGE_BYTES_MAX).map(idOf));
  const knownFrom = ends.toSorted().at(-1) ?? '';
  const rows: TaskRow[] = [];
  let bytes = 0;
  for (const row of looks.flat().toSorted((a, b) => (a.id < b.id ? 1 : -1))) {
    const last = rows.at(-1);
    const isFull = rows.length === limit || bytes >= PAGE_BYTES_MAX || row.id < knownFrom;
    if (isFull && last !== undefined) return { rows, next: last.id };
    rows.push(row);
    bytes += row.size;
  }
  return { rows, next: knownFrom === '' ? null : idOf(rows.at(-1) as TaskRow) };
}

/**
 * Looks at the next tasks and returns those that match the filter. Without an index, it looks at the next `mostLooked`
 * tasks by id, and also returns the last of them, matching or not. With an index, it looks at up to `mostLooked` tasks
 * of that index; `nth` of every row is then the number of these tasks.
 */
async function look(
  reader: Snapshot,
  { filter, withPayload, mostLooked }: ListQuery,
  index: OpenIndex | null,
  beforeId: string | null,
  most: number,
  mostBytes = PAGE_BYTES_MAX,
): Promise<(TaskRow & Looked & Counted)[]> {
  const { statuses, queue, action, priority, traceId, createdAfterMs, createdBeforeMs } = filter;
  const columns = withPayload ? ([...TASK_COLUMNS, 'payload'] as const) : TASK_COLUMNS;
  const rows = await reader.read('list-tasks', (db) => {
    let next = db.selectFrom('tasks').select(columns).limit(mostLooked);
    next =
      index === null ? next.orderBy('id', 'desc') : next.where('status', 'in', index.statuses).orderBy(index.column);
    if (beforeId !== null) next = next.where('id', '<', beforeId);
    // The times are bounds of the id, so that PostgreSQL skips the partitions of other days.
    if (createdAfterMs !== undefined) next = next.where('id', '>=', lowestIdAt(createdAfterMs));
    if (createdBeforeMs !== undefined) next = next.where('id', '<', lowestIdAt(createdBeforeMs));
    const looked = db
      .selectFrom(next.as('next'))
      .select(columns)
      .select((eb) => [
        index === null
          ? eb.fn
              .agg<number>('row_number')
              .over((over) => over.orderBy('id', 'desc'))
              .as('nth')
          : eb.fn.countAll<number>().over().as('nth'),
        eb
          .and([
            ...(statuses === undefined ? [] : [eb('status', 'in', statuses)]),
            ...(queue === undefined ? [] : [eb('queue', '=', queue)]),
            ...(action === undefined ? [] : [eb('action', '=', action)]),
            ...(priority === undefined ? [] : [eb('priority', '=', priority)]),
            ...(traceId === undefined ? [] : [eb('trace_id', '=', traceId)]),
          ])
          .as('fits'),
      ]);
    const picked = db
      .selectFrom(looked.as('looked'))
      .select([...columns, 'nth', 'fits'])
      .where((eb) => eb.or([eb('fits', '=', true), eb('nth', '=', mostLooked)]))
      .orderBy('id', 'desc')
      .limit(most);
    return withinBytes(db, {
      rows: picked,
      columns: [...columns, 'nth', 'fits'],
      longColumns: ['metadata', 'progress', ...(withPayload ? ['payload'] : [])],
      order: [['id', 'desc']],
      mostBytes,
    });
  });
  return rows as (TaskRow & Looked & Counted)[];
}
