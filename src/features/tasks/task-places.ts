import { lowestIdAt } from '../../core/ids.ts';
import { isTerminal, type TaskStatus } from '../../core/task.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import { asked, askedMetadata, type SeenFilter, type TaskFilter } from './task-filter.ts';

export type Database = Parameters<Parameters<Reader['read']>[1]>[0];

/** A select of ids, each with `fits`. */
const idsThatFit = (db: Database) =>
  db
    .selectFrom('submissions')
    .select('id')
    .select((eb) => eb.lit<boolean>(true).as('fits'));
export type IdSelect = ReturnType<typeof idsThatFit>;

/**
 * A place where tasks are looked for: it selects them in any order, and PostgreSQL can read them in the order of their
 * ids. Every place says whether a task fits as far as it knows.
 */
export type Place = (db: Database, filter: SeenFilter) => IdSelect;

const submissions: Place = (db, filter) =>
  db
    .selectFrom('submissions')
    .select('id')
    .select((eb) =>
      eb
        .and([
          ...asked(filter).map(([column, operator, value]) => eb(column, operator, value)),
          ...askedMetadata(filter).map((members) =>
            eb(eb.cast('metadata', 'jsonb'), '@>', eb.cast(eb.val(members), 'jsonb')),
          ),
        ])
        .as('fits'),
    ) as IdSelect;

const finished: Place = (db, { statuses = [] }) =>
  db
    .selectFrom('finished')
    .select('id')
    .select((eb) => eb('status', 'in', statuses).as('fits')) as unknown as IdSelect;

export const unfinished: Place = (db, filter) =>
  db
    .selectFrom('unfinished')
    .select('id')
    .select((eb) =>
      eb
        .and([
          eb('status', 'in', filter.statuses ?? []),
          ...asked(filter).flatMap(([column, operator, value]) =>
            column === 'queue' || column === 'priority' || column === 'group' ? [eb(column, operator, value)] : [],
          ),
        ])
        .as('fits'),
    ) as unknown as IdSelect;

/**
 * A completed task whose queue does not keep such tasks has only its submission. Scalar subqueries look up one row by its
 * key, whereas PostgreSQL might read a whole table for an EXISTS.
 */
const notKept: Place = (db, filter) =>
  db
    .selectFrom('submissions')
    .select('id')
    .select((eb) => {
      const stateIn = (table: 'unfinished' | 'finished') =>
        eb.selectFrom(table).select(`${table}.id`).whereRef(`${table}.id`, '=', 'submissions.id').limit(1);
      return eb
        .and([
          ...asked(filter).map(([column, operator, value]) => eb(column, operator, value)),
          eb(stateIn('unfinished'), 'is', null),
          eb(stateIn('finished'), 'is', null),
        ])
        .as('fits');
    })
    .where('keep_completed', '=', false) as IdSelect;

/** Returns the places that have only tasks of the wanted statuses, or as few others as possible. */
export function placesFor(statuses: readonly TaskStatus[] | undefined): readonly Place[] {
  if (statuses === undefined || statuses.length === 0) return [submissions];
  return [
    ...(statuses.every(isTerminal) ? [] : [unfinished]),
    ...(statuses.some(isTerminal) ? [finished] : []),
    ...(statuses.includes('COMPLETED') ? [notKept] : []),
  ];
}

/**
 * Returns the places for the slices after the first one. If a slice among completed tasks has not filled the page, the
 * search is for something rare that the submission tells. Submissions say at once that they do not fit, whereas a finished
 * task has to be looked up there.
 */
export function furtherPlacesFor(filter: SeenFilter): readonly Place[] {
  const places = placesFor(filter.statuses);
  return places.includes(notKept) && asked(filter).length > 0 ? [submissions] : places;
}

/** Characters of a value that its pair has. The statements that write and delete pairs name the same number. */
const PAIR_VALUE_LENGTH = 200;

/** Returns what `left` returns in PostgreSQL, which counts a surrogate pair as one character. */
const beginningOf = (value: string): string => Array.from(value).slice(0, PAIR_VALUE_LENGTH).join('');

/** The tasks that have a member of metadata, or one whose value begins in the same way. */
const withPair =
  (name: string, value: string): Place =>
  (db) =>
    db
      .selectFrom('metadata_pairs')
      .select('id')
      .select((eb) => eb.lit<boolean>(true).as('fits'))
      .where('name', '=', name)
      .where('value', '=', beginningOf(value)) as unknown as IdSelect;

/** The tasks whose submission has a value in an indexed column; they fit if it has all else that is asked for. */
const withColumn =
  (column: 'group' | 'idempotency_key', value: string): Place =>
  (db, filter) =>
    submissions(db, filter).where(column, '=', value);

/** Most tasks of a place that are counted. All of them fit into one slice. */
const COUNTED_MAX = 1_000;

/**
 * Returns the place that is likely to have the fewest tasks, if the filter names something that an index finds; otherwise
 * null. An idempotency key has few tasks; of the others it counts the next ones. If all have many, the first one is as
 * good as any other.
 */
export async function indexedPlace(
  reader: Pick<Reader, 'read'>,
  filter: SeenFilter,
  beforeId: string | null,
): Promise<Place | null> {
  const { idempotencyKey, group, metadata = {}, statuses } = filter;
  if (idempotencyKey !== undefined) return withColumn('idempotency_key', idempotencyKey);
  const indexed = [
    ...Object.entries(metadata).map(([name, value]) => withPair(name, value)),
    ...(group === undefined ? [] : [withColumn('group', group)]),
  ];
  const [first] = indexed;
  if (first === undefined) return null;
  const [place] = placesFor(statuses);
  const places = place === unfinished && statuses?.some(isTerminal) === false ? [...indexed, place] : indexed;
  if (places.length === 1) return first;
  const counts = await countNext(reader, places, filter, beforeId);
  return places[counts.indexOf(Math.min(...counts))] ?? first;
}

/** Counts the next tasks of each place, up to a number that takes PostgreSQL a millisecond. */
async function countNext(
  reader: Pick<Reader, 'read'>,
  places: readonly Place[],
  filter: SeenFilter,
  beforeId: string | null,
): Promise<number[]> {
  const row = await reader.read('count-next-tasks', (db) =>
    db
      .selectNoFrom(() =>
        places.map((place, i) => {
          const next = within(place(db, filter), filter, beforeId, COUNTED_MAX).orderBy('id', 'desc');
          return db
            .selectFrom(next.as('next'))
            .select((eb) => eb.fn.countAll<number>().as('count'))
            .as(`count_${i}`);
        }),
      )
      .executeTakeFirstOrThrow(),
  );
  const counts = row as Readonly<Record<string, number>>;
  return places.map((_, i) => counts[`count_${i}`] ?? 0);
}

/**
 * Takes some of the tasks of a place. The times are bounds of the id, so that PostgreSQL skips the partitions of other
 * days.
 */
export function within(select: IdSelect, filter: TaskFilter, beforeId: string | null, most: number): IdSelect {
  const { createdAfterMs, createdBeforeMs } = filter;
  let bounded = select.limit(most);
  if (beforeId !== null) bounded = bounded.where('id', '<', beforeId);
  if (createdAfterMs !== undefined) bounded = bounded.where('id', '>=', lowestIdAt(createdAfterMs));
  if (createdBeforeMs !== undefined) bounded = bounded.where('id', '<', lowestIdAt(createdBeforeMs));
  return bounded;
}
