import { beforeEach, describe, expect, it } from 'vitest';
import { withConnection } from '../../../../scripts/stores/postgres.ts';
import { createOldTasks, DAY, dateOf, dayOf, type OldTasks, RETENTION } from '../../../../test/harness/old-tasks.ts';
import { untilTrue } from '../../../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { dropDayTables, endTasks, insertTasks } from '../../../../test/harness/task-rows.ts';
import { anActor, createAdminStore } from '../../../../test/harness/task-stores.ts';
import { FIRST_ID, LAST_ID, lowestIdAt } from '../../../core/ids.ts';
import type { Outcome } from '../../../core/outcome.ts';
import type { TaskStatus } from '../../../core/task.ts';
import { createRequeueStore } from '../../../features/dlq/requeue-store.ts';
import type { Database, Run } from '../../../postgres/database.ts';
import { createAttemptStore } from '../../attempts/attempt-store.ts';
import { createCancelStore } from '../../cancel/cancel-store.ts';
import type { LeaseGrant } from '../lease-store.ts';
import { createPruneStore, type PruneStore } from './prune-store.ts';

const RETAINED = { retentionMs: RETENTION.RETENTION, failedRetentionMs: RETENTION.RETENTION_FAILED };
const MOST = 10;
/** The day of the tests, in days before today: after the shorter retention, but before the longer one. */
const AGO = 20;

let stores: TestStores;
let parts: SweepTestParts;
let old: OldTasks;
let day: string;

beforeEach(async () => {
  stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  old = createOldTasks(parts);
  day = await old.addDay(AGO);
});

async function takeLease(): Promise<LeaseGrant> {
  const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
  if (grant === null) throw new Error('the lease was free');
  return grant;
}

async function surveyed(): Promise<LeaseGrant> {
  const grant = await takeLease();
  await parts.sweepStore.surveyDay(grant, dateOf(day), FIRST_ID, RETAINED, 1_000, MOST);
  return grant;
}

/** Returns stores whose statements run in a transaction of the test. */
const within = (run: Run) => ({ run, runWithin: () => run });
const dropWithin = (run: Run, grant: LeaseGrant) => createPruneStore(within(run)).dropDay(grant, dateOf(day), MOST);
const drop = (grant: LeaseGrant) => parts.sweepStore.dropDay(grant, dateOf(day), MOST);

/** Everything that is stored about a task. */
async function storedOf(id: string): Promise<unknown> {
  const stored: Record<string, unknown> = {};
  for (const [table, column] of [
    ['submissions', 'id'],
    ['metadata_pairs', 'id'],
    ['unfinished', 'id'],
    ['finished', 'id'],
    ['attempts', 'task_id'],
    ['dlq', 'task_id'],
  ] as const)
    stored[table] = await parts.sql(`SELECT * FROM ${table} WHERE ${column} = $1 ORDER BY 1, 2`, [id]);
  return stored;
}

/** Runs `act` while the move holds its locks, and commits the move once `act` waits for it. */
async function duringMove<Result>(grant: LeaseGrant, act: () => Promise<Result>): Promise<Result> {
  const waiting = `SELECT FROM pg_locks WHERE NOT granted AND relation = ANY (ARRAY['finished', 'attempts', 'submissions', 'metadata_pairs']::regclass[])`;
  const acting = await parts.database.transaction(async (run) => {
    expect(await dropWithin(run, grant)).toBeGreaterThan(0);
    const acted = act();
    await untilTrue(async () => (await parts.sql(waiting)).length > 0);
    return () => acted;
  });
  return acting();
}

describe('a day is dropped after its retention', () => {
  it('without the tasks that must stay: these keep every row, all others lose every row', async () => {
    const stay = [
      await old.addTask(AGO, 'PENDING'),
      await old.addTask(AGO, 'SCHEDULED', { kept: false }),
      await old.addTask(AGO, 'PROCESSING'),
      await old.addTask(AGO, 'FAILED'),
      await old.addTask(AGO, 'COMPLETED', { finishedDaysAgo: 5 }),
      await old.addTask(AGO, 'COMPLETED', { kept: false, runAtDaysAgo: 3 }),
    ];
    const go = [
      await old.addTask(AGO, 'COMPLETED'),
      await old.addTask(AGO, 'CANCELLED'),
      await old.addTask(AGO, 'FAILED', { finishedDaysAgo: 32 }),
      await old.addTask(AGO, 'COMPLETED', { kept: false }),
    ];
    const before = await Promise.all(stay.map(storedOf));
    expect(await old.pruneAll()).toMatchObject({ tasks: 0, days: 1 });
    expect(await old.partitionsOf(day)).toEqual([]);
    expect(await Promise.all(stay.map(storedOf))).toEqual(before);
    for (const id of go) expect(await old.tracesOf(id)).toEqual([]);
    expect(await parts.sql(`SELECT FROM past_days`)).toEqual([]);
  });

  it('and what was moved is deleted row by row after its own retention; its week goes with the next day', async () => {
    const id = await old.addTask(AGO, 'SCHEDULED');
    expect(await old.pruneAll()).toMatchObject({ tasks: 0, days: 1 });
    await parts.sql(endTasks('CANCELLED', 'id = $1'), [id]);
    expect(await old.pruneAll()).toMatchObject({ tasks: 0 });
    await parts.sql(`UPDATE finished SET finished_at = now() - interval '8 days'`);
    expect(await old.pruneAll()).toMatchObject({ tasks: 1 });
    expect(await old.tracesOf(id)).toEqual([]);
    const weeks = () => parts.sql(`SELECT FROM pg_class WHERE relkind = 'r' AND relname ~ '_week_'`);
    expect(await weeks()).toHaveLength(4);
    await old.addDay(60);
    expect(await old.pruneAll()).toMatchObject({ days: 1 });
    expect(await weeks()).toEqual([]);
  });

  it('also if rows of its week are in the default partitions already', async () => {
    // Of the day before and the day after, at least one is in the same week.
    const others = [await old.addTask(AGO - 1, 'SCHEDULED'), await old.addTask(AGO + 1, 'SCHEDULED')];
    const [id, waiting] = [await old.addTask(AGO, 'FAILED'), await old.addTask(AGO, 'SCHEDULED')];
    const before = await storedOf(id);
    expect(await old.pruneAll()).toMatchObject({ tasks: 0, days: 1 });
    expect(await storedOf(id)).toEqual(before);
    // Sessions that wrote to the default partition before the drop have to notice that it takes rows of the day now.
    await createAdminStore(parts.database).cancel(waiting);
    expect(await parts.statusOf(waiting)).toBe('CANCELLED');
    expect(await parts.statusOf(others[0] ?? '')).toBe('SCHEDULED');
  });
});

describe('a day is not dropped', () => {
  it('if more tasks must stay than may be moved; the others are deleted one by one', async () => {
    for (let i = 0; i < 3; i++) await old.addTask(AGO, 'FAILED');
    await old.addTask(AGO, 'COMPLETED');
    const limits = { movedTasks: 2, pastDayPauseMs: DAY };
    expect(await old.pruneAll({ limits })).toMatchObject({ tasks: 1, days: 0 });
    expect(await parts.sql(`SELECT held FROM past_days WHERE look_again_at > now()`)).toEqual([{ held: 3 }]);
    // It is not looked at again before its time, whatever has become of it.
    await parts.sql(`UPDATE finished SET finished_at = now() - interval '40 days'`);
    expect(await old.pruneAll({ limits })).toMatchObject({ tasks: 0, days: 0 });
    await parts.sql(`UPDATE past_days SET look_again_at = now()`);
    expect(await old.pruneAll({ limits })).toMatchObject({ tasks: 3, days: 1 });
    expect(await old.partitionsOf(day)).toEqual([]);
  });

  it('if too many tasks must stay for some hours only; nothing is deleted one by one meanwhile', async () => {
    for (let i = 0; i < 3; i++) await old.addTask(AGO, 'COMPLETED');
    await parts.sql(
      `UPDATE finished SET finished_at = now() - interval '6 days 12 hours' WHERE id > (SELECT id FROM finished ORDER BY id LIMIT 1)`,
    );
    const limits = { movedTasks: 1, pastDayPauseMs: DAY };
    expect(await old.pruneAll({ limits })).toMatchObject({ tasks: 0, days: 0 });
    const [{ due } = { due: true }] = await parts.sql<{ due: boolean }>(
      `SELECT look_again_at <= now() AS due FROM past_days`,
    );
    expect(due).toBe(false);
    await parts.sql(`UPDATE finished SET finished_at = now() - interval '8 days'`);
    await parts.sql(`UPDATE past_days SET look_again_at = now()`);
    expect(await old.pruneAll({ limits })).toMatchObject({ tasks: 0, days: 1 });
  });

  it('if too many bytes would have to be moved while everything waits', async () => {
    // Uncompressed, so that few bytes make many.
    await parts.sql(`ALTER TABLE submissions_${day} ALTER payload SET STORAGE EXTERNAL`);
    const payload = `to_json(repeat('x', 17 * 1024 * 1024))`;
    const ids = `lowest_task_id('${dateOf(day)} 12:00Z')`;
    await parts.sql(insertTasks({ id: ids, status: `'SCHEDULED'`, payload }));
    const grant = await surveyed();
    expect(await drop(grant)).toBeNull();
    await parts.sql(`UPDATE submissions SET payload = '1'`);
    expect(await drop(grant)).toBe(1);
  });

  it('before its tasks are surveyed', async () => {
    await old.addTask(AGO, 'SCHEDULED');
    expect(await drop(await takeLease())).toBeNull();
  });
});

/** The attempt that a task of the harness runs. */
const settlement = (id: string, outcome: Outcome) => ({
  id,
  attempt: 2,
  outcome,
  reason: outcome.verb === 'fail' ? ('final_error' as const) : null,
});
const error = { name: 'Error', message: 'no' };

/** What may happen to a task of the day: its status before, what happens, and its status afterwards. */
const VERBS: [string, TaskStatus, (run: Run, id: string, grant: LeaseGrant) => Promise<unknown>, TaskStatus][] = [
  ['start', 'SCHEDULED', (run, id) => createAttemptStore(within(run)).start([id], 'w', 3, true), 'PROCESSING'],
  [
    'complete',
    'PROCESSING',
    (run, id) => createAttemptStore(within(run)).settle('test', [settlement(id, { verb: 'complete', result: '1' })]),
    'COMPLETED',
  ],
  [
    'retry',
    'PROCESSING',
    (run, id) =>
      createAttemptStore(within(run)).settle('test', [
        settlement(id, { verb: 'retry', delayMs: 0, error, result: null }),
      ]),
    'SCHEDULED',
  ],
  [
    'fail',
    'PROCESSING',
    (run, id) =>
      createAttemptStore(within(run)).settle('test', [settlement(id, { verb: 'fail', error, result: null })]),
    'FAILED',
  ],
  [
    'reclaim-own',
    'PROCESSING',
    (run, id) => createAttemptStore(within(run)).reclaimOwn('test', { id, attempt: 2 }, 3, error),
    'PENDING',
  ],
  ['cancel', 'PENDING', (run, id) => createCancelStore(within(run)).cancel(id, anActor()), 'CANCELLED'],
  ['requeue', 'FAILED', (run, id) => createRequeueStore(within(run)).requeueOne(id, 'keep', anActor()), 'PENDING'],
];

describe.each(VERBS)('%s of a task that must stay', (verb, status, act, then) => {
  const ready = async (): Promise<string> => {
    const id = await old.addTask(AGO, status);
    await old.addTask(AGO, 'COMPLETED');
    return id;
  };
  /** What is stored about the task tells what happened to it. */
  const expectDone = async (id: string): Promise<void> => {
    expect(await parts.statusOf(id)).toBe(then);
    const traces = await old.tracesOf(id);
    expect(traces).toEqual(expect.arrayContaining(['submissions', 'metadata_pairs', 'attempts']));
    expect(traces.filter((table) => table === 'unfinished' || table === 'finished')).toHaveLength(1);
    if (verb !== 'fail') return;
    const [letter] = await parts.sql<{ errors: string }>(`SELECT errors::text FROM dlq WHERE task_id = $1`, [id]);
    expect((JSON.parse(letter?.errors ?? '[]') as unknown[]).length).toBe(2);
  };

  it('works while the task is being moved, and afterwards', async () => {
    const id = await ready();
    const grant = await surveyed();
    await duringMove(grant, () => act(parts.database.run, id, grant));
    await expectDone(id);
    expect(await old.partitionsOf(day)).toEqual([]);
  });

  it('keeps the day while it is under way, and moves along as soon as it is committed', async () => {
    const id = await ready();
    const grant = await surveyed();
    await parts.database.transaction(async (run) => {
      await act(run, id, grant);
      expect(await drop(grant)).toBeNull();
    });
    expect(await drop(grant)).toBe(1);
    await expectDone(id);
  });
});

describe('during a move', () => {
  it('a repeated submit changes nothing', async () => {
    const id = await old.addTask(AGO, 'SCHEDULED');
    const before = await storedOf(id);
    const task = parts.newTask({ id, metadata: { customer: 'c' }, runAtMs: Date.now() });
    const [answer] = await duringMove(await surveyed(), () => parts.store.submit([{ task, idempotency: null }]));
    expect(answer).toBeDefined();
    expect(await storedOf(id)).toEqual(before);
  });

  it('reclaim takes the task back from a dead worker', async () => {
    const id = await old.addTask(AGO, 'PROCESSING');
    const grant = await surveyed();
    const reclaimed = await duringMove(grant, () =>
      parts.sweepStore.reclaim(grant, 'test', 3, 10, JSON.stringify(error)),
    );
    expect(reclaimed).toHaveLength(1);
    expect(await parts.statusOf(id)).toBe('PENDING');
  });

  it('a requeue of a task that need not stay finds nothing', async () => {
    await old.addTask(AGO, 'SCHEDULED');
    const id = await old.addTask(AGO, 'FAILED', { finishedDaysAgo: 32 });
    const admin = createAdminStore(parts.database);
    expect(await duringMove(await surveyed(), () => admin.requeueOne(id, 'keep'))).toBeNull();
    expect(await old.tracesOf(id)).toEqual([]);
  });
});

describe('partitions of new days', () => {
  it('are made without reading what was moved', async () => {
    for (let i = 0; i < 5; i++) await old.addTask(AGO, 'FAILED');
    expect(await drop(await surveyed())).toBe(5);
    await parts.sql(dropDayTables(dayOf(-7)));
    const read = await parts.database.transaction(async (run) => {
      await createPruneStore(within(run)).ensurePartitions(7);
      const text = `SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables WHERE relname ~ '_week_' AND seq_tup_read > 0`;
      return run({ name: '', text }, []);
    });
    expect(read).toEqual([]);
    expect(await old.partitionsOf(dayOf(-7))).toHaveLength(4);
  });
});

it('a move looks up its rows by key, although the statistics were made while the day was empty', async () => {
  const [rows, stay] = [20_000, 10];
  await parts.sql(`VACUUM (ANALYZE) submissions, metadata_pairs, unfinished, finished, attempts, dlq`);
  const id = `(left(lowest_task_id('${dateOf(day)} 12:00Z')::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
  const status = `CASE WHEN n % ${rows / stay} = 0 THEN 'FAILED' ELSE 'COMPLETED' END`;
  const finished_at = `now() - interval '19 days'`;
  const metadata = `'{"customer":"4711"}'`;
  await parts.sql(insertTasks({ id, status, finished_at, metadata }, `FROM generate_series(1, ${rows}) AS n`));
  await parts.sql(
    `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
     SELECT id, 0, 'w.1', 1, now(), now(), 'RETRIED' FROM finished`,
  );
  await parts.sweepStore.surveyDay(await takeLease(), dateOf(day), FIRST_ID, RETAINED, rows + 1, MOST);
  // The view makes the last step fail, so that the tables still exist when the rows that were read are counted.
  await parts.sql(`CREATE VIEW in_the_way AS SELECT FROM submissions_${day}`);
  const [read] = await withConnection(stores.databaseUrl, async (client) => {
    await client.query('BEGIN; SAVEPOINT before');
    const text = `SELECT drop_partitions_of(day, surveyed_since, staying, $1) FROM past_days`;
    await expect(client.query(text, [MOST])).rejects.toMatchObject({ code: '2BP01' });
    await client.query('ROLLBACK TO before');
    const { rows: counted } = await client.query<{ rows: number }>(
      `SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS rows FROM pg_stat_xact_user_tables WHERE relname LIKE '%' || $1`,
      [day],
    );
    return counted;
  });
  expect(read?.rows).toBeGreaterThanOrEqual(3 * stay);
  expect(read?.rows).toBeLessThan(12 * stay);
});

it('a slice reads only its own tasks, although nothing is known of a large day', async () => {
  const [rows, slice] = [20_000, 1_000];
  const id = `(left(lowest_task_id('${dateOf(day)} 12:00Z')::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
  const finished_at = `now() - interval '2 days'`;
  await parts.sql(insertTasks({ id, status: `'COMPLETED'`, finished_at }, `FROM generate_series(1, ${rows}) AS n`));
  const grant = await takeLease();
  const range = { from: lowestIdAt(Date.parse(dateOf(day))), before: LAST_ID };
  /** Counts the rows of submissions that a statement of the store reads. */
  const readBy = (act: (store: PruneStore) => Promise<unknown>): Promise<number> =>
    parts.database.transaction(async (run) => {
      const counted = async (): Promise<number> => {
        const text = `SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS rows FROM pg_stat_xact_user_tables WHERE relname = $1`;
        return (await run<{ rows: number }>({ name: '', text }, [`submissions_${day}`]))[0]?.rows ?? Number.NaN;
      };
      const runWithin: Database['runWithin'] =
        (_limitMs, settings = {}) =>
        async (statement, values) => {
          for (const [name, value] of Object.entries(settings))
            await run({ name: '', text: `SET LOCAL ${name} = ${value}` }, []);
          return run(statement, values);
        };
      const before = await counted();
      await act(createPruneStore({ runWithin }));
      return (await counted()) - before;
    });
  expect(await readBy((store) => store.surveyDay(grant, dateOf(day), FIRST_ID, RETAINED, slice, MOST))).toBe(slice);
  expect(await readBy((store) => store.pruneTasks(grant, FIRST_ID, range, RETAINED, slice))).toBe(slice);
});
