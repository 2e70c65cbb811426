import { FIRST_ID, LAST_ID } from '../../src/core/ids.ts';
import type { Statement } from '../../src/postgres/sql.ts';
import { statementNamed } from './assets.ts';
import type { TestParts } from './parts.ts';

/** The queues of a client that does not see all of them. */
const VISIBLE = '^(?:default$)';

const ACTOR = [FIRST_ID, 'client', '127.0.0.1', 'trace'];
const nulls = (count: number): null[] => Array.from({ length: count }, () => null);

/** Values for the statements that look up tasks by their keys, as the scheduler would bind them for these ids. */
const VALUES: Readonly<Record<string, (ids: readonly string[]) => unknown[]>> = {
  submit: (ids) => [
    ids,
    ...['default', null, '1', 2, 0, null, null, 1, null, 1_000, '{"customer":"4711"}', 't', null].map((value) =>
      ids.map(() => value),
    ),
    ids,
    ids.map(() => Buffer.from('hash')),
    ids.map(() => '{}'),
    60_000,
    '100',
    [],
    ids.map(() => 'g'),
    ids.map(() => 'shop'),
    ids.map(() => 'c'),
  ],
  'find-idempotency-keys': (ids) => [
    ...['shop', 'default'].map((value) => ids.map(() => value)),
    ids,
    ids.map(() => Buffer.from('hash')),
  ],
  start: (ids) => [ids, 'w', 3, true, ids.toSorted()[0], ids.toSorted().at(-1)],
  settle: (ids) => [
    'w',
    ids,
    ...[1, 'complete', null, null, null, null].map((value) => ids.map(() => value)),
    ids.toSorted()[0],
    ids.toSorted().at(-1),
    ids.map(() => '1'),
  ],
  'unsettled-verdicts': (ids) => [
    'w',
    ids,
    ids.map(() => 1),
    ids.map(() => 'complete'),
    ids.toSorted()[0],
    ids.toSorted().at(-1),
  ],
  'reclaim-own': (ids) => ['w', ids[0], 1, 3, '{}'],
  holdings: () => ['w'],
  'record-progress': (ids) => ['w', ids, ids.map(() => 1), ids.map(() => '{}')],
  cancel: (ids) => [ids[0], ...ACTOR],
  reveal: (ids) => [ids[0], null, VISIBLE, ...ACTOR],
  'statuses-of': (ids) => [ids],
  reclaim: () => ['holder', 1, 'w', 3, 500, '{}'],
  'held-by-workers': () => [100, 1_000, 10, VISIBLE],
  'count-unfinished': () => ['c', 1_000],
  'survey-day': () => ['holder', 1, new Date().toISOString().slice(0, 10), FIRST_ID, 0, 0, 500, 100],
  'prune-tasks': () => ['holder', 1, FIRST_ID, 0, 0, 500, FIRST_ID, LAST_ID],
  'count-requeueable': () => [FIRST_ID, 0, 500, ...nulls(6), VISIBLE, false],
  requeue: () => [null, FIRST_ID, 0, 500, ...nulls(6), 500, 'keep', null, null, 0, ...ACTOR, '{}', VISIBLE, false],
};

export const KEYED_STATEMENTS = Object.keys(VALUES);

export function valuesOf(name: string, ids: readonly string[]): unknown[] {
  const values = VALUES[name];
  if (values === undefined) throw new Error(`no values for ${name}`);
  return values(ids);
}

/** Returns the lines of a statement's plan. @param settings statement that runs before it, in the same transaction */
export async function planOf(
  { database }: Pick<TestParts, 'database'>,
  name: string,
  ids: readonly string[],
  settings?: Statement,
): Promise<string[]> {
  const { text } = statementNamed(name);
  const rows = await database.transaction(async (run) => {
    if (settings !== undefined) await run(settings, []);
    return run<{ 'QUERY PLAN': string }>({ name: '', text: `EXPLAIN (VERBOSE) ${text}` }, valuesOf(name, ids));
  });
  return rows.map((row) => row['QUERY PLAN']);
}

const ROWS_READ = {
  name: 'test-rows-read',
  text: `SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int AS rows
         FROM pg_stat_xact_user_tables WHERE relname ~ '^((submissions|metadata_pairs|finished|attempts)_|unfinished$|dlq$)'`,
};

/**
 * Counts the rows of tasks that the statements of `body` read. PostgreSQL's counters are cumulative, so it subtracts.
 * @param body gets the database of one transaction
 */
export async function rowsRead(
  { database }: Pick<TestParts, 'database'>,
  body: (database: TestParts['database']) => Promise<unknown>,
): Promise<number> {
  return database.transaction(async (run) => {
    const count = async (): Promise<number> => (await run<{ rows: number }>(ROWS_READ, []))[0]?.rows ?? Number.NaN;
    const before = await count();
    await body({ ...database, run });
    return (await count()) - before;
  });
}
