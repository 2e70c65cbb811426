import { beforeAll, describe, expect, it } from 'vitest';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { insertTasks } from '../../../test/harness/task-rows.ts';
import { createOrm, type Reader } from '../../postgres/reads/reader.ts';
import { FULL_SIGHT, type Sight } from '../../postgres/reads/sight.ts';
import type { TaskFilter } from './task-filter.ts';
import { createTaskReads, type TaskReads } from './task-reads.ts';

/** Newer tasks that wait, and older ones that have ended. Every 50th of these has failed. */
const [WAITING, ENDED] = [5_000, 20_000];
const [SLICE, LIMIT] = [4_000, 50];

/** Every page shows one task more than its limit, and the search may read one row more in each place. */
const A_PAGE = LIMIT + 10;

let parts: TestParts;
let orm: ReturnType<typeof createOrm>;

const TABLES = ['submissions', 'metadata_pairs', 'unfinished', 'finished', 'attempts'] as const;
type RowsRead = Record<(typeof TABLES)[number], number>;
const NOTHING: RowsRead = { submissions: 0, metadata_pairs: 0, unfinished: 0, finished: 0, attempts: 0 };

interface Counted {
  readonly name: string;
  readonly count: number;
}

const ROWS_READ = `
  SELECT substring(relname from '^(${TABLES.join('|')})') AS name,
         sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS count
  FROM pg_stat_xact_user_tables WHERE relname ~ '^(${TABLES.join('|')})' GROUP BY 1`;

const run = (text: string) => parts.database.run({ name: '', text }, []);

/** Opens a new database. */
async function open(): Promise<void> {
  const { env } = await createTestStores();
  parts = await openParts(env);
  const made = createOrm(parts.config);
  orm = made;
  atEndOfFile(() => made.close(true));
}

/** The id of the nth task. */
const id = `(left(lowest_task_id(now())::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;

beforeAll(async () => {
  await open();
  // From now on, the planner believes that all tables are small.
  await run('VACUUM (ANALYZE) submissions, metadata_pairs, unfinished, finished, attempts');
  const queue = `CASE n % 5000 WHEN 17 THEN 'rare' ELSE 'default' END`;
  const group = `CASE n % 5000 WHEN 17 THEN 'rare' WHEN 18 THEN NULL ELSE 'usual' END`;
  const metadata = `json_build_object('all', 'x', 'kind', CASE n % 5000 WHEN 17 THEN 'rare' ELSE 'usual' END)`;
  const key = `CASE WHEN n % 3 = 0 THEN 'key-' || n END`;
  const status = `CASE WHEN n > ${ENDED} THEN 'PENDING' WHEN n % 50 = 0 THEN 'FAILED' ELSE 'COMPLETED' END`;
  await run(
    insertTasks(
      { id, queue, group, metadata, idempotency_key: key, status },
      `FROM generate_series(1, ${ENDED + WAITING}) AS n`,
    ),
  );
});

/** Counts the rows that a read fetches from each table. PostgreSQL's counters are cumulative, so it subtracts. */
async function rowsRead(read: (reads: TaskReads) => Promise<unknown>): Promise<RowsRead> {
  const em = orm.em.fork();
  return em
    .getKysely()
    .transaction()
    .execute(async (transaction) => {
      const one: Pick<Reader, 'read'> = { read: (_name, query) => query(transaction) };
      const reader: Reader = { ...one, snapshot: (body) => body(one), close: async () => {} };
      const count = async (): Promise<RowsRead> => {
        const rows = await em.getConnection().execute<Counted[]>(ROWS_READ, [], 'all', transaction);
        return { ...NOTHING, ...Object.fromEntries(rows.map(({ name, count: rowCount }) => [name, rowCount])) };
      };
      const before = await count();
      await read(createTaskReads(reader, { sliceRows: SLICE, searchMs: 60_000 }));
      const after = await count();
      return Object.fromEntries(TABLES.map((table) => [table, after[table] - before[table]])) as RowsRead;
    });
}

const page =
  (filter: TaskFilter, length = LIMIT, sight: Sight = FULL_SIGHT) =>
  async (reads: TaskReads) => {
    const { rows } = await reads.list(filter, sight, null, LIMIT, true);
    expect(rows).toHaveLength(length);
  };
const total = (read: RowsRead): number => Object.values(read).reduce((sum, rows) => sum + rows, 0);

describe.each(['analysed while the tables were empty', 'analysed with all tasks'])('%s', (when) => {
  beforeAll(async () => {
    if (when === 'analysed with all tasks')
      await run('VACUUM (ANALYZE) submissions, metadata_pairs, unfinished, finished');
  });

  it('one task is read by its key', async () => {
    for (const status of ['COMPLETED', 'FAILED', 'PENDING']) {
      const [task] = await parts.database.run<{ id: string }>(
        { name: '', text: 'SELECT id FROM tasks WHERE status = $1::task_status LIMIT 1' },
        [status],
      );
      const read = await rowsRead(async (reads) => {
        expect((await reads.findWithAttempts(task?.id ?? '', 100, FULL_SIGHT))?.task.status).toBe(status);
      });
      // Once for the task and once for its attempts.
      expect(total(read)).toBeLessThanOrEqual(4);
    }
  });

  it('a page without a filter reads little more than its tasks', async () => {
    const read = await rowsRead(page({}));
    expect(read.submissions).toBeLessThan(2 * A_PAGE);
    expect(read.unfinished).toBeLessThan(A_PAGE);
    expect(read.finished).toBeLessThan(A_PAGE);
  });

  it('a filter that the submission answers makes no other table pay for tasks that do not match', async () => {
    const read = await rowsRead(page({ queue: 'rare' }, 5));
    expect(read.submissions).toBeLessThan(ENDED + WAITING + A_PAGE);
    expect(read.unfinished + read.finished).toBeLessThan(2 * A_PAGE);
  });

  it('completed tasks are not searched for among newer tasks that wait', async () => {
    expect(total(await rowsRead(page({ statuses: ['COMPLETED'] })))).toBeLessThan(4 * A_PAGE);
  });

  it('rare completed tasks are searched for in the submissions after the first slice', async () => {
    const read = await rowsRead(page({ statuses: ['COMPLETED'], queue: 'rare' }, 4));
    expect(read.submissions).toBeLessThan(ENDED + SLICE + A_PAGE);
    expect(read.unfinished + read.finished).toBeLessThan(SLICE + A_PAGE);
  });

  it('a page of the few tasks that a client sees costs no more than a page of their queue', async () => {
    const rare: Sight = { queues: '^(?:rare$)', contents: false };
    const any = await rowsRead(page({}, 5, rare));
    expect(any.submissions).toBeLessThan(ENDED + WAITING + A_PAGE);
    expect(any.unfinished + any.finished).toBeLessThan(2 * A_PAGE);
    const completed = await rowsRead(page({ statuses: ['COMPLETED'] }, 4, rare));
    expect(completed.submissions).toBeLessThan(ENDED + SLICE + A_PAGE);
    expect(completed.unfinished + completed.finished).toBeLessThan(SLICE + A_PAGE);
    const waiting = await rowsRead(page({ statuses: ['PENDING'] }, 1, rare));
    expect(waiting.unfinished).toBeLessThan(WAITING + A_PAGE);
    expect(waiting.submissions).toBeLessThan(A_PAGE);
    const group = await rowsRead(page({ group: 'rare' }, 5, rare));
    for (const table of TABLES) expect(group[table], table).toBeLessThan(30);
  });

  it('a page without a filter reads little more than its tasks for a client with many patterns', async () => {
    const read = await rowsRead(page({}, LIMIT, { queues: '^(?:(?!system\\.)|system\\.webhooks$)', contents: true }));
    expect(read.submissions).toBeLessThan(2 * A_PAGE);
    expect(read.unfinished).toBeLessThan(A_PAGE);
    expect(read.finished).toBeLessThan(A_PAGE);
  });

  it('failed tasks are found among the finished ones', async () => {
    const read = await rowsRead(page({ statuses: ['FAILED', 'CANCELLED'] }));
    expect(read.submissions).toBeLessThan(A_PAGE + SLICE / 50);
    expect(read.finished).toBeLessThan((LIMIT + 2) * 50 + 2 * A_PAGE);
    expect(read.unfinished).toBe(0);
  });

  it('waiting tasks are found among the unfinished ones, and by the columns that these have', async () => {
    const read = await rowsRead(page({ statuses: ['PENDING', 'SCHEDULED'] }));
    expect(total(read)).toBeLessThan(3 * A_PAGE);
    const rare = await rowsRead(page({ statuses: ['PENDING'], queue: 'rare' }, 1));
    expect(rare.unfinished).toBeLessThan(WAITING + A_PAGE);
    expect(rare.submissions).toBeLessThan(A_PAGE);
    expect(rare.finished).toBe(0);
  });

  it('a page of several kinds of statuses reads little more than its tasks', async () => {
    expect(total(await rowsRead(page({ statuses: ['COMPLETED', 'PENDING'] })))).toBeLessThan(4 * A_PAGE);
  });

  const KIND_RARE = { kind: 'rare' };

  it.each<[string, TaskFilter, number]>([
    ['a group', { group: 'usual' }, LIMIT],
    ['a rare group', { group: 'rare' }, 5],
    ['an idempotency key', { idempotencyKey: 'key-300' }, 1],
    ['an idempotency key and all else', { idempotencyKey: 'key-300', group: 'usual', metadata: { all: 'x' } }, 1],
    ['a member of metadata', { metadata: { all: 'x' } }, LIMIT],
    ['a rare member of metadata', { metadata: KIND_RARE }, 5],
    ['a rare member of metadata and a status', { metadata: KIND_RARE, statuses: ['COMPLETED', 'FAILED'] }, 4],
    ['a rare group that no task has with a status', { group: 'rare', statuses: ['CANCELLED'] }, 0],
    ['a member that no task has', { metadata: { all: 'y' } }, 0],
    ['a value that no task has under this name', { metadata: { all: 'rare' } }, 0],
  ])('%s: the page reads little more than its tasks', async (_what, filter, length) => {
    const read = await rowsRead(page(filter, length));
    const most = Math.min(A_PAGE, length + 10);
    for (const table of TABLES) expect(read[table], table).toBeLessThan(2 * most);
  });

  /** The search counts the tasks of each index up to this number. */
  const COUNTED = 1_000;

  it.each<[string, TaskFilter, number]>([
    ['two members of metadata', { metadata: { all: 'x', ...KIND_RARE } }, 5],
    ['three', { metadata: { ...KIND_RARE, all: 'x' }, group: 'rare' }, 5],
    ['a member and a group', { metadata: KIND_RARE, group: 'usual' }, 0],
    ['a group and a member', { metadata: { all: 'x' }, group: 'rare' }, 5],
    ['members of all tasks', { metadata: { all: 'x', kind: 'usual' } }, LIMIT],
    ['a member that no task has, and another', { metadata: { all: 'x', none: 'x' } }, 0],
    ['a rare member and the waiting tasks', { metadata: KIND_RARE, statuses: ['PENDING'] }, 1],
  ])('%s: the search goes by the rarer one', async (_what, filter, length) => {
    const read = await rowsRead(page(filter, length));
    const most = 2 * Math.min(A_PAGE, length + 10);
    expect(read.metadata_pairs).toBeLessThan(2 * COUNTED + 2 * most);
    expect(read.submissions).toBeLessThan(COUNTED + most);
    expect(read.unfinished).toBeLessThan(COUNTED + most);
    expect(read.finished).toBeLessThan(most);
  });

  it('members that all tasks have are read once for each task, however many are asked for', async () => {
    const read = await rowsRead(page({ metadata: { all: 'x', kind: 'usual' }, statuses: ['CANCELLED'] }, 0));
    expect(read.metadata_pairs).toBeLessThan(ENDED + WAITING + 2 * COUNTED + A_PAGE);
    expect(read.submissions).toBeLessThan(ENDED + WAITING + A_PAGE);
  });

  it('a condition without an index makes only the tasks of the index be read, and no state of those that do not match', async () => {
    const read = await rowsRead(page({ metadata: { kind: 'usual' }, queue: 'rare' }, 0));
    expect(read.metadata_pairs).toBeLessThan(ENDED + WAITING + A_PAGE);
    expect(read.submissions).toBeLessThan(ENDED + WAITING + A_PAGE);
    // The last task of each slice is read whether it matches or not.
    expect(read.unfinished + read.finished).toBeLessThan(A_PAGE);
  });
});

describe('with statistics that were made while all tasks had what only old tasks have now', () => {
  const [OLD, NEW] = [5_000, 40_000];

  beforeAll(async () => {
    await open();
    const has = (what: string) => ({
      group: `'${what}'`,
      metadata: `'{"age":"${what}"}'`,
      idempotency_key: `'${what}'`,
    });
    await run(insertTasks({ id, ...has('old') }, `FROM generate_series(1, ${OLD}) AS n`));
    await run('VACUUM (ANALYZE) submissions, metadata_pairs, unfinished');
    await run(insertTasks({ id, ...has('new') }, `FROM generate_series(${OLD + 1}, ${OLD + NEW}) AS n`));
  });

  it.each<[string, TaskFilter]>([
    ['a group', { group: 'old' }],
    ['an idempotency key', { idempotencyKey: 'old' }],
    ['a member of metadata', { metadata: { age: 'old' } }],
  ])('%s is read from its index', async (_what, filter) => {
    expect(total(await rowsRead(page(filter)))).toBeLessThan(5 * A_PAGE);
  });
});
