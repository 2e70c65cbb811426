import { beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../test/harness/assets.ts';
import { openParts, type TestParts } from '../../test/harness/parts.ts';
import { KEYED_STATEMENTS, planOf, rowsRead, valuesOf } from '../../test/harness/statement-values.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { insertTasks } from '../../test/harness/task-rows.ts';
import { createTaskStore } from '../../test/harness/task-stores.ts';
import type { Settlement } from '../engine/attempts/attempt-store.ts';

/** Most rows of tasks and their attempts that the statements of one transaction may read per task. */
const ROWS_A_TASK = 4;
const BATCH = 50;

/** Enough rows that a full scan costs more than looking up a batch. With fewer, a full scan may be the right plan. */
const ROWS = 20_000;

let parts: TestParts;
let ids: string[];

const completed = (id: string): Settlement => ({
  id,
  attempt: 1,
  outcome: { verb: 'complete', result: null },
  reason: null,
});

const readBy = (body: (store: ReturnType<typeof createTaskStore>) => Promise<unknown>): Promise<number> =>
  rowsRead(parts, (database) => body(createTaskStore(database, 60_000)));

beforeAll(async () => {
  // The statements run one after the other, so the pool's first connection plans and runs all of them.
  parts = await openParts((await createTestStores()).env);
});

describe('plans that were first made while the day was empty', () => {
  beforeAll(async () => {
    // After a vacuum of empty partitions, the planner believes that all ways of reading them are equally cheap.
    await parts.database.run(
      { name: 'test-vacuum', text: 'VACUUM (ANALYZE) submissions, metadata_pairs, unfinished, finished, attempts' },
      [],
    );
    for (let i = 0; i < 10; i++) {
      const id = parts.ids.next('default');
      await parts.store.start([id], 'w', 3, true);
      await parts.store.settle('w', [completed(id)]);
    }
    const tasks = Array.from({ length: ROWS }, () => parts.newTask());
    await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
    ids = tasks.map(({ id }) => id);
  });

  it('start reads only the requested rows', async () => {
    expect(await readBy((store) => store.start(ids.slice(0, BATCH), 'w', 3, true))).toBeLessThan(BATCH * ROWS_A_TASK);
  });

  it('settle reads only the requested rows, not the other tasks of the worker', async () => {
    await parts.store.start(ids.slice(BATCH), 'w', 3, true);
    const read = await readBy((store) => store.settle('w', ids.slice(0, BATCH).map(completed)));
    expect(read).toBeLessThan(BATCH * ROWS_A_TASK);
  });
});

describe('plans for a large day with poor statistics', () => {
  /** The largest batch of a settle, and enough other tasks that a full scan looks cheaper to the planner. */
  const [BATCH_MAX, OTHERS] = [400, 600_000];
  /** Rows that one statement inserts. More of them could take longer than a statement may. */
  const AT_ONCE = 60_000;
  let asked: string[];

  beforeAll(async () => {
    parts = await openParts((await createTestStores()).env);
    const tasks = Array.from({ length: BATCH_MAX }, () => parts.newTask());
    await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
    asked = tasks.map(({ id }) => id);
    const run = (name: string, text: string, values: unknown[] = []) => parts.database.run({ name, text }, values);
    const others = `SELECT ($1::text || '-7' || left(h, 3) || '-8' || right(h, 3) || '-000000000000')::uuid AS id
                    FROM (SELECT lpad(to_hex(n), 6, '0') AS h FROM generate_series($2::int, $3::int) AS n) AS numbers`;
    const day = { id: 'o.id', status: `'COMPLETED'`, worker_id: `'other'` };
    const prefix = parts.ids.next('default').slice(0, 13);
    for (let first = 1; first <= OTHERS; first += AT_ONCE) {
      const values = [prefix, first, first + AT_ONCE - 1];
      await run('test-tasks', insertTasks(day, `FROM (${others}) AS o`), values);
      await run(
        'test-attempts',
        `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
         SELECT id, 0, 'other', 1, now(), now(), 'RELEASED' FROM (${others}) AS o`,
        values,
      );
    }
    // This state was observed after half a minute at 12,000 tasks a second: there were no statistics for tasks, and those
    // for their attempts claimed many rows per task.
    const attempts = `attempts' || to_char(now() AT TIME ZONE 'UTC', '_YYYYMMDD') || '`;
    await run(
      'test-statistics',
      `DO $$ BEGIN
         EXECUTE 'ALTER TABLE ${attempts} ALTER COLUMN task_id SET (n_distinct = 3000)';
         EXECUTE 'ANALYZE ${attempts}';
       END $$`,
    );
  });

  it('start and settle look up only the requested rows', async () => {
    expect(await readBy((store) => store.start(asked, 'w', 3, true))).toBeLessThan(BATCH_MAX * ROWS_A_TASK);
    const settle = (store: ReturnType<typeof createTaskStore>) => store.settle('w', asked.map(completed));
    expect(await readBy(settle)).toBeLessThan(BATCH_MAX * ROWS_A_TASK);
  });
});

/** Makes the planner choose another join than a nested loop whenever one is possible, whatever its statistics say. */
const NO_LOOPS = { name: 'test-no-loops', text: 'SET LOCAL enable_nestloop = off' };

const depthOf = (line: string): number => line.search(/\S/);

/** Finds hash and merge joins that read a table of tasks as a whole. Loops and subqueries look rows up by key. */
function wholeReads(lines: readonly string[]): string[] {
  const found: string[] = [];
  /** The joins and loops that enclose the current line. */
  let around: string[] = [];
  for (const line of lines) {
    around = around.filter((outer) => depthOf(outer) < depthOf(line));
    if (/Join|Nested Loop|SubPlan|^ *CTE /.test(line)) around.push(line);
    const nearest = around.at(-1) ?? '';
    if (
      / on [a-z_.]*((submissions|metadata_pairs|finished|attempts)_|unfinished|dlq|idempotency_keys)/.test(line) &&
      /(Hash|Merge) .*Join/.test(nearest)
    )
      found.push(nearest);
  }
  return found;
}

it.each(KEYED_STATEMENTS)('%s can only look rows up by their keys', async (name) => {
  expect(wholeReads(await planOf(parts, name, ids, NO_LOOPS))).toEqual([]);
});

it('submit looks up ids and keys in hash tables, however many there are', async () => {
  const many = Array.from({ length: 1_000 }, () => parts.ids.next('default'));
  const plan = await planOf(parts, 'submit', many);
  expect(plan.filter((line) => /\(hashed SubPlan \d+\)/.test(line)).length).toBeGreaterThanOrEqual(3);
  // Without a hash table, each id would be compared with each.
  expect(plan.filter((line) => /(?<!hashed )SubPlan \d+\)/.test(line))).toEqual([]);
  expect(plan.filter((line) => /Nested Loop/.test(line))).toEqual([]);
});

it('no statement is JIT-compiled, since compiling takes longer than running it', async () => {
  expect(await parts.database.run({ name: 'test-jit', text: 'SHOW jit' }, [])).toEqual([{ jit: 'off' }]);
});

it.each([
  ['start', ['submissions']],
  // A dead letter has the action of its submission and the errors of the attempts.
  ['settle', ['attempts', 'submissions']],
  ['unsettled-verdicts', ['attempts', 'finished', 'submissions']],
])('%s reads only the partitions of its ids', async (name, tables) => {
  const locks = await parts.database.transaction(async (run) => {
    await run(statementNamed(name), valuesOf(name, ids.slice(0, 1)));
    const text = `SELECT DISTINCT c.relname::text AS name FROM pg_locks JOIN pg_class c ON c.oid = relation
                  WHERE pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname ~ '^(submissions|metadata_pairs|finished|attempts)_'`;
    return run<{ name: string }>({ name: `test-locks-${name}`, text }, []);
  });
  const parents = locks.map((lock) => lock.name.split('_')[0] ?? '');
  expect(parents.toSorted()).toEqual(tables);
});
