import { beforeAll, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../test/harness/parts.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { loadSql } from './sql.ts';
import { createTaskStore, type Settlement } from './task-store.ts';

/** Rows that statements of one transaction may look at for each task: in tasks and in execution_logs. */
const ROWS_A_TASK = 4;
const BATCH = 50;

/** So many that reading all of them is dearer than looking up a batch: of fewer, the planner may rightly read all. */
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

/** What the statements of `body` read, by PostgreSQL's own count, which goes on from what the connection did before. */
async function rowsRead(body: (store: ReturnType<typeof createTaskStore>) => Promise<unknown>): Promise<number> {
  return parts.database.transaction(async (run) => {
    const count = async (): Promise<number> => (await run<{ rows: number }>(ROWS_READ, []))[0]?.rows ?? Number.NaN;
    const before = await count();
    await body(createTaskStore({ ...parts.database, run }, 60_000));
    return (await count()) - before;
  });
}

beforeAll(async () => {
  // One statement after the other: all are run, and planned, on the pool's first connection.
  parts = await openParts((await createTestStores()).env);
});

describe('plans that were first made while the day was empty', () => {
  beforeAll(async () => {
    // A vacuum of empty partitions tells the planner that any way of reading them is as cheap as another.
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

  it('start reads the rows it was asked for', async () => {
    expect(await rowsRead((store) => store.start(ids.slice(0, BATCH), 'w', 3, true))).toBeLessThan(BATCH * ROWS_A_TASK);
  });

  it('settle reads the rows it was asked for, and not what else the worker runs', async () => {
    await parts.store.start(ids.slice(BATCH), 'w', 3, true);
    const read = await rowsRead((store) => store.settle('w', ids.slice(0, BATCH).map(completed)));
    expect(read).toBeLessThan(BATCH * ROWS_A_TASK);
  });
});

it.each(['start', 'settle'])('%s reads the partitions of its ids alone', async (name) => {
  const locks = await parts.database.transaction(async (run) => {
    const id = ids[0];
    const values =
      name === 'start'
        ? [[id], 'w', 3, true, id, id]
        : ['w', [id], [1], ['complete'], [null], [null], [null], [null], id, id];
    await run(loadSql(name), values);
    const text = `SELECT count(DISTINCT relation)::int AS count FROM pg_locks JOIN pg_class c ON c.oid = relation
                  WHERE pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE 'tasks\\_%'`;
    return run<{ count: number }>({ name: `test-locks-${name}`, text }, []);
  });
  expect(locks).toEqual([{ count: 1 }]);
});
