import { beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../test/harness/assets.ts';
import { openParts, type TestParts } from '../../test/harness/parts.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createTaskStore } from '../../test/harness/task-stores.ts';
import type { Settlement } from '../engine/attempts/attempt-store.ts';

/** Most rows of tasks and execution_logs that the statements of one transaction may read per task. */
const ROWS_A_TASK = 4;
const BATCH = 50;

/** Enough rows that a full scan costs more than looking up a batch. With fewer, a full scan may be the right plan. */
const ROWS = 20_000;

const ROWS_READ = {
  name: 'test-rows-read',
  text: `SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int AS rows
         FROM pg_stat_xact_user_tables WHERE relname ~ '^(tasks|execution_logs)_'`,
};

let parts: TestParts;
let ids: string[];

const completed = (id: string): Settlement => ({
  id,
  attempt: 1,
  outcome: { verb: 'complete', result: null },
  reason: null,
});

/** Counts the rows that the statements of `body` read. PostgreSQL's counters are cumulative, so it subtracts. */
async function rowsRead(body: (store: ReturnType<typeof createTaskStore>) => Promise<unknown>): Promise<number> {
  return parts.database.transaction(async (run) => {
    const count = async (): Promise<number> => (await run<{ rows: number }>(ROWS_READ, []))[0]?.rows ?? Number.NaN;
    const before = await count();
    await body(createTaskStore({ ...parts.database, run }, 60_000));
    return (await count()) - before;
  });
}

beforeAll(async () => {
  // The statements run one after the other, so the pool's first connection plans and runs all of them.
  parts = await openParts((await createTestStores()).env);
});

describe('plans that were first made while the day was empty', () => {
  beforeAll(async () => {
    // After a vacuum of empty partitions, the planner believes that all ways of reading them are equally cheap.
    await parts.database.run({ name: 'test-vacuum', text: 'VACUUM (ANALYZE) tasks, execution_logs' }, []);
    for (let i = 0; i < 10; i++) {
      const id = parts.ids.next();
      await parts.store.start([id], 'w', 3, true);
      await parts.store.settle('w', [completed(id)]);
    }
    const tasks = Array.from({ length: ROWS }, () => parts.newTask());
    await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
    ids = tasks.map(({ id }) => id);
  });

  it('start reads only the requested rows', async () => {
    expect(await rowsRead((store) => store.start(ids.slice(0, BATCH), 'w', 3, true))).toBeLessThan(BATCH * ROWS_A_TASK);
  });

  it('settle reads only the requested rows, not the other tasks of the worker', async () => {
    await parts.store.start(ids.slice(BATCH), 'w', 3, true);
    const read = await rowsRead((store) => store.settle('w', ids.slice(0, BATCH).map(completed)));
    expect(read).toBeLessThan(BATCH * ROWS_A_TASK);
  });
});

describe('plans for a large day with poor statistics', () => {
  /** The largest batch of a settle, and enough other tasks that a full scan looks cheaper to the planner. */
  const [BATCH_MAX, OTHERS] = [400, 600_000];
  let asked: string[];

  beforeAll(async () => {
    parts = await openParts((await createTestStores()).env);
    const tasks = Array.from({ length: BATCH_MAX }, () => parts.newTask());
    await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
    asked = tasks.map(({ id }) => id);
    const run = (name: string, text: string, values: unknown[] = []) => parts.database.run({ name, text }, values);
    const others = `SELECT ($1::text || '-7' || left(h, 3) || '-8' || right(h, 3) || '-000000000000')::uuid AS id
                    FROM (SELECT lpad(to_hex(n), 6, '0') AS h FROM generate_series(1, $2::int) AS n) AS numbers`;
    const values = [parts.ids.next().slice(0, 13), OTHERS];
    await run(
      'test-tasks',
      `INSERT INTO tasks (id, queue, payload, priority, status, place_ms, run_at, max_retries, timeout_ms, trace_id, attempt, finished_at)
       SELECT id, 'default', '0', 2, 'COMPLETED', 0, now(), 3, 1000, 'none', 1, now() FROM (${others}) AS o`,
      values,
    );
    await run(
      'test-logs',
      `INSERT INTO execution_logs (task_id, attempt, worker_id, started_at, ordinal) SELECT id, 1, 'other', now(), 1 FROM (${others}) AS o`,
      values,
    );
    // This state was observed after half a minute at 12,000 tasks a second: there were no statistics for tasks, and those
    // for execution_logs claimed many rows per task.
    const log = `execution_logs' || to_char(now() AT TIME ZONE 'UTC', '_YYYYMMDD') || '`;
    await run(
      'test-statistics',
      `DO $$ BEGIN
         EXECUTE 'ALTER TABLE ${log} ALTER COLUMN task_id SET (n_distinct = 3000)';
         EXECUTE 'ANALYZE ${log}';
       END $$`,
    );
  });

  it('start and settle look up only the requested rows', async () => {
    expect(await rowsRead((store) => store.start(asked, 'w', 3, true))).toBeLessThan(BATCH_MAX * ROWS_A_TASK);
    const settle = (store: ReturnType<typeof createTaskStore>) => store.settle('w', asked.map(completed));
    expect(await rowsRead(settle)).toBeLessThan(BATCH_MAX * ROWS_A_TASK);
  });
});

const NO_ID = '00000000-0000-0000-0000-000000000000';

/** Makes the planner choose another join than a nested loop whenever one is possible, whatever its statistics say. */
const NO_LOOPS = { name: 'test-no-loops', text: 'SET LOCAL enable_nestloop = off' };

const depthOf = (line: string): number => line.search(/\S/);

/** Finds hash and merge joins that read tasks or execution_logs as a whole. Loops and subqueries look rows up by key. */
function wholeReads(lines: readonly string[]): string[] {
  const found: string[] = [];
  /** The joins and loops that enclose the current line. */
  let around: string[] = [];
  for (const line of lines) {
    around = around.filter((outer) => depthOf(outer) < depthOf(line));
    if (/Join|Nested Loop|SubPlan|^ *CTE /.test(line)) around.push(line);
    const nearest = around.at(-1) ?? '';
    if (/ on (tasks|execution_logs)_/.test(line) && /(Hash|Merge) .*Join/.test(nearest)) found.push(nearest);
  }
  return found;
}

it.each<[string, (asked: string[]) => unknown[]]>([
  ['start', (asked) => [asked, 'w', 3, true, asked.toSorted()[0], asked.toSorted().at(-1)]],
  [
    'settle',
    (asked) => [
      'w',
      asked,
      ...[1, 'complete', null, null, null, null].map((value) => asked.map(() => value)),
      asked.toSorted()[0],
      asked.toSorted().at(-1),
      asked.map(() => '1'),
    ],
  ],
  ['reclaim-own', (asked) => ['w', asked[0], 1, 3, '{}']],
  ['statuses-of', (asked) => [asked]],
  ['record-progress', (asked) => ['w', asked, asked.map(() => 1), asked.map(() => '{}')]],
  ['reclaim', () => ['holder', 1, 'w', 3, 500, '{}']],
  ['prune-tasks', () => ['holder', 1, NO_ID, 0, 0, 500]],
  ['count-requeueable', () => [NO_ID, 0, 500, ...Array.from({ length: 6 }, () => null)]],
  ['requeue', () => [null, NO_ID, 0, 500, ...Array.from({ length: 6 }, () => null), 500, 'keep', null, null, 0]],
])('%s can only look rows up by their keys', async (name, values) => {
  const { text } = statementNamed(name);
  const plan = await parts.database.transaction(async (run) => {
    await run(NO_LOOPS, []);
    return run<{ 'QUERY PLAN': string }>({ name: `test-explain-${name}`, text: `EXPLAIN ${text}` }, values(ids));
  });
  expect(wholeReads(plan.map((row) => row['QUERY PLAN']))).toEqual([]);
});

it('no statement is JIT-compiled, since compiling takes longer than running it', async () => {
  expect(await parts.database.run({ name: 'test-jit', text: 'SHOW jit' }, [])).toEqual([{ jit: 'off' }]);
});

it.each(['start', 'settle'])('%s reads only the partitions of its ids', async (name) => {
  const locks = await parts.database.transaction(async (run) => {
    const id = ids[0];
    const values =
      name === 'start'
        ? [[id], 'w', 3, true, id, id]
        : ['w', [id], [1], ['complete'], [null], [null], [null], [null], id, id, [null]];
    await run(statementNamed(name), values);
    const text = `SELECT count(DISTINCT relation)::int AS count FROM pg_locks JOIN pg_class c ON c.oid = relation
                  WHERE pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE 'tasks\\_%'`;
    return run<{ count: number }>({ name: `test-locks-${name}`, text }, []);
  });
  expect(locks).toEqual([{ count: 1 }]);
});
