import { lowestIdAt } from '../../core/ids.ts';
import type { Priority } from '../../core/priority.ts';
import { isTerminal, type TaskStatus } from '../../core/task.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import {
  type Counted,
  type Found,
  firstOfCounted,
  type Looked,
  PAGE_BYTES_MAX,
  search,
  type SearchLimits,
  sliceOf,
} from '../../postgres/reads/search.ts';
import { type LookedSelect, tasksWithStates } from '../../postgres/reads/task-states.ts';
import { withinBytes } from '../../postgres/reads/within-bytes.ts';
import { TASK_COLUMNS, type TaskRow } from './task-row.ts';

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

type Database = Parameters<Parameters<Reader['read']>[1]>[0];
type Snapshot = Pick<Reader, 'read'>;
type ListedRow = TaskRow & Looked & Counted;

interface ListQuery {
  readonly filter: TaskFilter;
  readonly withPayload: boolean;
  /** Number of tasks that one statement looks at. */
  readonly mostLooked: number;
}

/** Lists tasks with ids below `beforeId`, newest first. */
export function listTasks(
  reader: Reader,
  limits: SearchLimits,
  filter: TaskFilter,
  beforeId: string | null,
  limit: number,
  withPayload: boolean,
): Promise<Found<TaskRow, string>> {
  // One snapshot for all statements. Otherwise a task that starts between two of them could be seen twice or missed.
  return reader.snapshot(async (snapshot) => {
    const query = { filter, withPayload, mostLooked: limits.sliceRows };
    const few = await amongFewRunning(snapshot, query, beforeId, limit + 1);
    if (few !== null) return firstOfCounted(few, limit, idOf);
    return search(limits, beforeId, limit, idOf, async (from, most, mostBytes) => {
      const places = from === beforeId ? placesFor(filter.statuses) : furtherPlacesFor(filter);
      const look = (db: Database) => nextTasks(db, query, places, from);
      return sliceOf(await readLooked(snapshot, query, look, most, mostBytes), limits.sliceRows, idOf);
    });
  });
}

const idOf = ({ id }: TaskRow): string => id;

/**
 * Reads the matching tasks if only running ones are wanted and there are few of them; otherwise returns null. So running
 * tasks are not searched for among millions of waiting ones.
 */
async function amongFewRunning(
  reader: Snapshot,
  query: ListQuery,
  beforeId: string | null,
  most: number,
): Promise<ListedRow[] | null> {
  const { statuses = [] } = query.filter;
  if (statuses.length === 0 || !statuses.every((status) => status === 'PROCESSING')) return null;
  const rows = await readLooked(reader, query, (db) => runningTasks(db, query, beforeId), most, PAGE_BYTES_MAX);
  return rows.some(({ nth }) => nth === query.mostLooked) ? null : rows;
}

/**
 * The places where tasks are looked for, each in the order of the ids. Every place says whether a task fits as far as it
 * knows. A completed task whose queue does not keep such tasks has only its submission.
 */
type Place = 'submissions' | 'unfinished' | 'finished' | 'not kept';

/** Returns the places that have only tasks of the wanted statuses, or as few others as possible. */
function placesFor(statuses: readonly TaskStatus[] | undefined): readonly Place[] {
  if (statuses === undefined || statuses.length === 0) return ['submissions'];
  return [
    ...(statuses.every(isTerminal) ? [] : ['unfinished' as const]),
    ...(statuses.some(isTerminal) ? ['finished' as const] : []),
    ...(statuses.includes('COMPLETED') ? ['not kept' as const] : []),
  ];
}

/**
 * Returns the places for the slices after the first one. If a slice among completed tasks has not filled the page, the
 * search is for something rare that the submission tells. Submissions say at once that they do not fit, whereas a finished
 * task has to be looked up there.
 */
function furtherPlacesFor(filter: TaskFilter): readonly Place[] {
  const places = placesFor(filter.statuses);
  return places.includes('not kept') && asked(filter).length > 0 ? ['submissions'] : places;
}

type AskedColumn = 'queue' | 'action' | 'priority' | 'trace_id';

/** Returns the conditions that a submission alone can answer. */
function asked({ queue, action, priority, traceId }: TaskFilter): (readonly [AskedColumn, string | number])[] {
  const conditions = [
    ['queue', queue],
    ['priority', priority],
    ['action', action],
    ['trace_id', traceId],
  ] as const;
  return conditions.flatMap(([column, value]) => (value === undefined ? [] : [[column, value] as const]));
}

/** A select of ids, each with `fits`. */
const idsThatFit = (db: Database) =>
  db
    .selectFrom('submissions')
    .select('id')
    .select((eb) => eb.lit<boolean>(true).as('fits'));
type IdSelect = ReturnType<typeof idsThatFit>;

/** The times are bounds of the id, so that PostgreSQL skips the partitions of other days. */
function within(select: IdSelect, { filter, mostLooked }: ListQuery, beforeId: string | null): IdSelect {
  const { createdAfterMs, createdBeforeMs } = filter;
  let bounded = select.limit(mostLooked);
  if (beforeId !== null) bounded = bounded.where('id', '<', beforeId);
  if (createdAfterMs !== undefined) bounded = bounded.where('id', '>=', lowestIdAt(createdAfterMs));
  if (createdBeforeMs !== undefined) bounded = bounded.where('id', '<', lowestIdAt(createdBeforeMs));
  return bounded;
}

/** Selects the tasks of a place, in any order. */
const TASKS_AT: Readonly<Record<Place, (db: Database, filter: TaskFilter) => IdSelect>> = {
  submissions: (db, filter) =>
    db
      .selectFrom('submissions')
      .select('id')
      .select((eb) => eb.and(asked(filter).map(([column, value]) => eb(column, '=', value))).as('fits')) as IdSelect,
  unfinished: unfinishedTasks,
  finished: (db, { statuses = [] }) =>
    db
      .selectFrom('finished')
      .select('id')
      .select((eb) => eb('status', 'in', statuses).as('fits')) as unknown as IdSelect,
  'not kept': notKeptTasks,
};

/** Scalar subqueries look up one row by its key, whereas PostgreSQL might read a whole table for an EXISTS. */
function notKeptTasks(db: Database, filter: TaskFilter): IdSelect {
  return db
    .selectFrom('submissions')
    .select('id')
    .select((eb) => {
      const stateIn = (table: 'unfinished' | 'finished') =>
        eb.selectFrom(table).select(`${table}.id`).whereRef(`${table}.id`, '=', 'submissions.id').limit(1);
      return eb
        .and([
          ...asked(filter).map(([column, value]) => eb(column, '=', value)),
          eb(stateIn('unfinished'), 'is', null),
          eb(stateIn('finished'), 'is', null),
        ])
        .as('fits');
    })
    .where('keep_completed', '=', false) as IdSelect;
}

function unfinishedTasks(db: Database, filter: TaskFilter): IdSelect {
  const { statuses = [] } = filter;
  return db
    .selectFrom('unfinished')
    .select('id')
    .select((eb) =>
      eb
        .and([
          eb('status', 'in', statuses),
          ...asked(filter).flatMap(([column, value]) =>
            column === 'queue' || column === 'priority' ? [eb(column, '=', value)] : [],
          ),
        ])
        .as('fits'),
    ) as unknown as IdSelect;
}

/**
 * Looks at the next tasks of all places together, numbered in their order. Two places can have the same task. The one where
 * it fits comes first, because the next slice begins behind the last id: a slice that ended between the two would lose it.
 */
function nextTasks(db: Database, query: ListQuery, places: readonly Place[], beforeId: string | null): LookedSelect {
  const [first, ...others] = places.map((place) => {
    const next = within(TASKS_AT[place](db, query.filter), query, beforeId).orderBy('id', 'desc');
    return db.selectFrom(next.as('next')).select(['id', 'fits']);
  }) as [IdSelect, ...IdSelect[]];
  const all =
    others.length === 0
      ? first
      : others
          .reduce((union, other) => union.unionAll(other), first)
          .orderBy('id', 'desc')
          .orderBy('fits', 'desc')
          .limit(query.mostLooked);
  return db
    .selectFrom(all.as('all'))
    .select(['id', 'fits'])
    .select((eb) =>
      eb.fn
        .agg<number>('row_number')
        .over((over) => over.orderBy('id', 'desc').orderBy('fits', 'desc'))
        .as('nth'),
    ) as unknown as LookedSelect;
}

/** Looks at running tasks in any order. `nth` of each is the number of them all. */
function runningTasks(db: Database, query: ListQuery, beforeId: string | null): LookedSelect {
  const running = unfinishedTasks(db, query.filter) as unknown as ReturnType<typeof ofUnfinished>;
  const next = within(
    running.where('status', '=', 'PROCESSING').orderBy('worker_id') as unknown as IdSelect,
    query,
    beforeId,
  );
  return db
    .selectFrom(next.as('next'))
    .select(['id', 'fits'])
    .select((eb) => eb.fn.countAll<number>().over().as('nth')) as unknown as LookedSelect;
}
const ofUnfinished = (db: Database) => db.selectFrom('unfinished').select('id');

/**
 * Reads those of the looked-at tasks that match the filter, and the last one of a full slice, matching or not. What the
 * submission tells is checked before the state of a task is looked up.
 */
async function readLooked(
  reader: Snapshot,
  { filter, withPayload, mostLooked }: ListQuery,
  look: (db: Database) => LookedSelect,
  most: number,
  mostBytes: number,
): Promise<ListedRow[]> {
  const { statuses } = filter;
  const columns = withPayload ? ([...TASK_COLUMNS, 'payload'] as const) : TASK_COLUMNS;
  const rows = await reader.read('list-tasks', (db) => {
    const fitting = db
      .selectFrom(look(db).as('looked'))
      .selectAll()
      .where((eb) => eb.or([eb('fits', '=', true), eb('nth', '=', mostLooked)])) as unknown as LookedSelect;
    const states = tasksWithStates(db, fitting).select(['ids.nth', 'ids.fits as looked_fits']);
    const joined = (withPayload ? states.select('s.payload') : states).where((eb) =>
      eb.or([
        eb.and(asked(filter).map(([column, value]) => eb(`s.${column}`, '=', value))),
        eb('ids.nth', '=', mostLooked),
      ]),
    );
    const judged = db
      .selectFrom(joined.as('joined'))
      .selectAll()
      .select((eb) =>
        eb
          .and([
            eb('looked_fits', '=', true),
            ...(statuses === undefined ? [] : [eb('status', 'in', statuses)]),
            ...asked(filter).map(([column, value]) => eb(column, '=', value)),
          ])
          .as('fits'),
      );
    const picked = db
      .selectFrom(judged.as('judged'))
      .selectAll()
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
  return rows as ListedRow[];
}
