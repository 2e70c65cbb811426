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
import { asked, askedMetadata, type SeenFilter } from './task-filter.ts';
import {
  type Database,
  furtherPlacesFor,
  type IdSelect,
  indexedPlace,
  type Place,
  placesFor,
  unfinished,
  within,
} from './task-places.ts';
import { SHORT_TASK_COLUMNS, type TaskRow } from './task-row.ts';

type Snapshot = Pick<Reader, 'read'>;
type ListedRow = TaskRow & Looked & Counted;

interface ListQuery {
  readonly filter: SeenFilter;
  readonly withPayload: boolean;
  readonly withProgress: boolean;
  /** Number of tasks that one statement looks at. */
  readonly mostLooked: number;
}

/** Lists tasks with ids below `beforeId`, newest first. */
export function listTasks(
  reader: Reader,
  limits: SearchLimits,
  { filter, withPayload, withProgress }: Omit<ListQuery, 'mostLooked'>,
  beforeId: string | null,
  limit: number,
): Promise<Found<TaskRow, string>> {
  // One snapshot for all statements. Otherwise a task that starts between two of them could be seen twice or missed.
  return reader.snapshot(async (snapshot) => {
    const query = { filter, withPayload, withProgress, mostLooked: limits.sliceRows };
    const few = await amongFewRunning(snapshot, query, beforeId, limit + 1);
    if (few !== null) return firstOfCounted(few, limit, idOf);
    const indexed = await indexedPlace(snapshot, filter, beforeId);
    return search(limits, beforeId, limit, idOf, async (from, most, mostBytes) => {
      const usual = from === beforeId ? placesFor(filter.statuses) : furtherPlacesFor(filter);
      const places = indexed === null ? usual : [indexed];
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
 * Looks at the next tasks of all places together, numbered in their order. Two places can have the same task. Then the one
 * where it fits comes first: if a slice ended between the two, the next slice would begin behind the task and miss it.
 */
function nextTasks(db: Database, query: ListQuery, places: readonly Place[], beforeId: string | null): LookedSelect {
  const [first, ...others] = places.map((place) => {
    const next = within(place(db, query.filter), query.filter, beforeId, query.mostLooked).orderBy('id', 'desc');
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
  const running = unfinished(db, query.filter) as unknown as ReturnType<typeof ofUnfinished>;
  const next = within(
    running.where('status', '=', 'PROCESSING').orderBy('worker_id') as unknown as IdSelect,
    query.filter,
    beforeId,
    query.mostLooked,
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
function readLooked(
  reader: Snapshot,
  { filter, withPayload, withProgress, mostLooked }: ListQuery,
  look: (db: Database) => LookedSelect,
  most: number,
  mostBytes: number,
): Promise<ListedRow[]> {
  const { statuses } = filter;
  const longColumns = [
    'metadata',
    ...(withProgress ? (['progress'] as const) : []),
    ...(withPayload ? (['payload'] as const) : []),
  ];
  return reader.read('list-tasks', (db) => {
    const fitting = db
      .selectFrom(look(db).as('looked'))
      .selectAll()
      .where((eb) => eb.or([eb('fits', '=', true), eb('nth', '=', mostLooked)])) as unknown as LookedSelect;
    const states = tasksWithStates(db, fitting)
      .select(['ids.nth', 'ids.fits as looked_fits'])
      .select((eb) =>
        eb
          .and([
            ...asked(filter).map(([column, operator, value]) => eb(`s.${column}`, operator, value)),
            ...askedMetadata(filter).map((members) =>
              eb(eb.cast('s.metadata', 'jsonb'), '@>', eb.cast(eb.val(members), 'jsonb')),
            ),
          ])
          .as('asked_fits'),
      );
    const judged = db
      .selectFrom((withPayload ? states.select('s.payload') : states).as('states'))
      .selectAll()
      .where((eb) => eb.or([eb('asked_fits', '=', true), eb('nth', '=', mostLooked)]))
      .select((eb) =>
        eb
          .and([
            eb('looked_fits', '=', true),
            ...(statuses === undefined ? [] : [eb('status', 'in', statuses)]),
            eb('asked_fits', '=', true),
          ])
          .as('fits'),
      );
    const picked = db
      .selectFrom(judged.as('judged'))
      .selectAll()
      .where((eb) => eb.or([eb('fits', '=', true), eb('nth', '=', mostLooked)]))
      .orderBy('id', 'desc')
      .limit(most);
    return withinBytes<ListedRow>(db, {
      rows: picked,
      columns: [...SHORT_TASK_COLUMNS, ...longColumns, 'nth', 'fits'],
      longColumns,
      order: [['id', 'desc']],
      mostBytes,
    }).execute();
  });
}
