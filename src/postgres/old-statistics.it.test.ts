import { beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../test/harness/assets.ts';
import { openParts, type TestParts } from '../../test/harness/parts.ts';
import { KEYED_STATEMENTS, planOf, rowsRead } from '../../test/harness/statement-values.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { insertTasks } from '../../test/harness/task-rows.ts';
import { createAdminStore, createTaskStore } from '../../test/harness/task-stores.ts';
import type { Settlement } from '../engine/attempts/attempt-store.ts';
import { createTaskStates } from '../engine/order/task-states.ts';
import { ANY_DEAD_LETTER, REQUEUE_START } from '../features/dlq/requeue-store.ts';

/** Tasks of each kind: a full scan of their table takes long, and no statement of a batch may make one. */
const MANY = 40_000;
const BATCH = 50;
/** Most rows that a statement may read per task of its batch. A requeue has to read the dead letter too, twice. */
const ROWS_A_TASK = 6;

/** What the statistics were made from, and the state of the tables. Each has `MANY` waiting and `MANY` failed tasks. */
const STATES = {
  /** After a vacuum of empty tables, the planner believes that all ways of reading them are equally cheap. */
  async 'made while all tables were empty'(tables: Tables) {
    await tables.analyze();
    await tables.fill('FAILED', MANY);
    await tables.fill('PENDING', MANY);
  },
  async 'made while one worker ran all tasks'(tables: Tables) {
    await tables.fill('FAILED', MANY);
    await tables.fill('PROCESSING', MANY);
    await tables.analyze();
    await tables.run(`UPDATE unfinished SET status = 'PENDING', worker_id = NULL`);
  },
  /** The last row keeps the pages before it, so the planner believes that any number of pages has one row. */
  async 'made while large tables were almost empty'(tables: Tables) {
    await tables.fill('FAILED', MANY);
    await tables.fill('PENDING', MANY);
    for (const [table, id] of [
      ['unfinished', 'id'],
      ['dlq', 'task_id'],
    ])
      await tables.run(`DELETE FROM ${table} WHERE ${id} < (SELECT ${id} FROM ${table} ORDER BY ${id} DESC LIMIT 1)`);
    await tables.analyze();
    await tables.fill('FAILED', MANY);
    await tables.fill('PENDING', MANY);
  },
  async 'made while the tables were much larger'(tables: Tables) {
    await tables.fill('FAILED', 3 * MANY);
    await tables.fill('PENDING', 3 * MANY);
    await tables.analyze();
    for (const table of ['unfinished', 'finished', 'dlq', 'attempts', 'metadata_pairs', 'submissions'])
      await tables.run(`TRUNCATE ${table}`);
    await tables.fill('FAILED', MANY);
    await tables.fill('PENDING', MANY);
  },
};

interface Tables {
  run(text: string, values?: readonly unknown[]): Promise<unknown>;
  analyze(): Promise<unknown>;
  fill(status: 'PENDING' | 'PROCESSING' | 'FAILED', count: number): Promise<void>;
}

async function openTables(parts: TestParts): Promise<Tables> {
  const run = <Row extends object>(text: string, values: readonly unknown[] = []) =>
    parts.database.run<Row>({ name: '', text }, values);
  // No vacuum may correct the statistics while a test runs.
  const leaves = await run<{ name: string }>(
    `SELECT relid::text AS name FROM unnest(ARRAY['submissions', 'metadata_pairs', 'finished', 'attempts']) AS p (parent),
            pg_partition_tree(p.parent::regclass)
     WHERE isleaf`,
  );
  for (const name of [...leaves.map((leaf) => leaf.name), 'unfinished', 'dlq'])
    await run(`ALTER TABLE ${name} SET (autovacuum_enabled = false)`);
  return {
    run,
    analyze: () => run('VACUUM (ANALYZE) submissions, metadata_pairs, unfinished, finished, attempts, dlq'),
    async fill(status, count) {
      const id = `($1::text || '-7' || left(h, 3) || '-8' || right(h, 3) || '-000000000000')::uuid`;
      const numbers = `FROM (SELECT lpad(to_hex(n), 6, '0') AS h FROM generate_series(1, $2::int) AS n) AS numbers`;
      const values = [parts.ids.next('default').slice(0, 13), count];
      await run(
        insertTasks({ id, status: `'${status}'`, worker_id: `'w'`, metadata: `'{"customer":"4711"}'` }, numbers),
        values,
      );
      if (status !== 'FAILED') return;
      await run(
        `WITH failed AS (SELECT ${id} AS id ${numbers}), logged AS (
           INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
           SELECT id, 0, 'w', 1, now(), now(), 'RETRIED' FROM failed
         )
         INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
         SELECT id, 1, 'default', 2, 'final_error', '[]', now() FROM failed`,
        values,
      );
    },
  };
}

describe.each(Object.keys(STATES) as (keyof typeof STATES)[])('with statistics %s', (state) => {
  let parts: TestParts;
  let ids: string[];

  beforeAll(async () => {
    parts = await openParts((await createTestStores()).env);
    await STATES[state](await openTables(parts));
    const text = `SELECT id FROM unfinished WHERE status = 'PENDING' ORDER BY hashint8(place_ms), id LIMIT $1`;
    ids = (await parts.database.run<{ id: string }>({ name: '', text }, [4 * BATCH])).map(({ id }) => id);
  });

  it.each(KEYED_STATEMENTS)('%s scans no table', async (name) => {
    const lines = await planOf(parts, name, ids);
    const today = new Date().toISOString().slice(0, 10).replaceAll('-', '');
    const scans = new RegExp(
      `Seq Scan on [a-z_]+\\.((submissions|metadata_pairs|finished|attempts)_${today}|unfinished|dlq)\\b`,
    );
    expect(lines.filter((line) => scans.test(line))).toEqual([]);
  });

  it('the statements of a task read only the requested rows', async () => {
    const batch = ids.slice(0, BATCH);
    const settlements = (of: readonly string[], outcome: Settlement['outcome']): Settlement[] =>
      of.map((id) => ({ id, attempt: 1, outcome, reason: outcome.verb === 'fail' ? 'final_error' : null }));
    const error = { name: 'Error', message: 'no' };
    const [completed, retried, failed] = [batch.slice(0, 20), batch.slice(20, 30), batch.slice(30, 40)];
    const [lease] = await parts.database.run<{ pass: number }>(statementNamed('take-lease'), [
      'test',
      60_000,
      15_000,
      5_000,
    ]);
    const steps: Record<string, (database: TestParts['database']) => Promise<unknown>> = {
      start: (database) => createTaskStore(database, 60_000).start(batch, 'w', 3, true),
      holdings: (database) => createTaskStore(database, 60_000).holdings('w'),
      'record-progress': (database) =>
        createTaskStore(database, 60_000).recordProgress(
          'w',
          batch.map((id) => ({ id, attempt: 1, progress: '1' })),
        ),
      'statuses-of': ({ run }) => createTaskStates(run).statusesOf(batch),
      cancel: async (database) => {
        for (const id of ids.slice(BATCH, 2 * BATCH)) await createAdminStore(database).cancel(id);
      },
      complete: (database) =>
        createTaskStore(database, 60_000).settle('w', settlements(completed, { verb: 'complete', result: null })),
      retry: (database) =>
        createTaskStore(database, 60_000).settle(
          'w',
          settlements(retried, { verb: 'retry', delayMs: 0, error, result: null }),
        ),
      fail: (database) =>
        createTaskStore(database, 60_000).settle('w', settlements(failed, { verb: 'fail', error, result: null })),
      'settle again': (database) =>
        createTaskStore(database, 60_000).settle('w', settlements(batch, { verb: 'complete', result: null })),
      'reclaim-own': async (database) => {
        for (const id of batch.slice(40, 45))
          await createTaskStore(database, 60_000).reclaimOwn('w', { id, attempt: 1 }, 3, error);
      },
      reclaim: ({ run }) => run(statementNamed('reclaim'), ['test', lease?.pass, 'w', 1, 500, JSON.stringify(error)]),
      requeue: (database) =>
        createAdminStore(database, BATCH).requeueBatch(
          ANY_DEAD_LETTER,
          { place: 'keep', spacingMs: null },
          REQUEUE_START,
          BATCH,
        ),
    };
    const tooMany: unknown[] = [];
    for (const [name, step] of Object.entries(steps)) {
      const read = await rowsRead(parts, step);
      if (read > BATCH * ROWS_A_TASK) tooMany.push([name, read]);
    }
    expect(tooMany).toEqual([]);
    expect(await createTaskStates(parts.database.run).statusesOf(failed)).toHaveProperty('size', failed.length);
  });
});
