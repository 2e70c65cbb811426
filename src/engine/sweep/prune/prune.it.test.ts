import { beforeEach, describe, expect, it } from 'vitest';
import {
  createOldTasks,
  DAY,
  dateOf,
  dayOf,
  type OldTask,
  type OldTasks,
  RETENTION,
} from '../../../../test/harness/old-tasks.ts';
import { createTestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { dropDayTables, endTasks, PARTITIONED } from '../../../../test/harness/task-rows.ts';
import { lowestIdAt } from '../../../core/ids.ts';
import type { TaskStatus } from '../../../core/task.ts';

let parts: SweepTestParts;
let old: OldTasks;

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  old = createOldTasks(parts);
});

describe('pruning row by row', () => {
  it('deletes finished tasks after their retention, with all their rows, but no unfinished task', async () => {
    const open = [
      await old.addTask(100, 'PENDING'),
      await old.addTask(100, 'SCHEDULED'),
      await old.addTask(100, 'PROCESSING'),
    ];
    const failed = [await old.addTask(100, 'FAILED', { finishedDaysAgo: 29 }), await old.addTask(20, 'FAILED')];
    const ended = [
      ...failed,
      await old.addTask(100, 'COMPLETED', { finishedDaysAgo: 6 }),
      await old.addTask(3, 'CANCELLED'),
    ];
    for (let i = 0; i < 5; i++) await old.addTask(9, 'COMPLETED');
    await old.addTask(9, 'CANCELLED');
    await old.addTask(32, 'FAILED');
    expect(await old.pruneAll()).toEqual({ keys: 0, tasks: 7, days: 0, queues: 0 });
    const kept = [...open, ...ended].toSorted();
    for (const table of ['submissions', 'metadata_pairs', 'attempts'] as const)
      expect(await old.idsIn(table), table).toEqual(kept);
    expect(await old.idsIn('unfinished')).toEqual(open.toSorted());
    expect(await old.idsIn('finished')).toEqual(ended.toSorted());
    expect(await old.idsIn('dlq')).toEqual(failed.toSorted());
  });

  it('locks no row that it keeps, because a lock is written to the row', async () => {
    for (let i = 0; i < 3; i++) await old.addTask(20, 'FAILED');
    await old.addTask(40, 'FAILED');
    expect(await old.pruneAll()).toMatchObject({ tasks: 1 });
    expect(await parts.sql('SELECT id FROM finished WHERE xmax <> 0')).toEqual([]);
  });

  it('leaves a task alone that is unfinished, even if it is finished too', async () => {
    const id = await old.addTask(40, 'COMPLETED');
    await parts.sql(
      `INSERT INTO unfinished (id, queue, priority, place_ms, status, run_at) VALUES ($1, 'default', 2, 0, 'PENDING', now())`,
      [id],
    );
    expect(await old.pruneAll()).toMatchObject({ tasks: 0 });
    expect(await old.tracesOf(id)).toEqual(['submissions', 'metadata_pairs', 'unfinished', 'finished', 'attempts']);
  });

  it('waits for no lock: a task that is being requeued is left for the next round', async () => {
    const [requeued, other] = [await old.addTask(40, 'FAILED'), await old.addTask(40, 'FAILED')];
    await parts.database.transaction(async (run) => {
      await run({ name: 'test-requeue', text: `SELECT id FROM finished WHERE id = $1 FOR UPDATE` }, [requeued]);
      expect(await old.pruneAll()).toMatchObject({ tasks: 1 });
    });
    expect([await old.tracesOf(other), await parts.statusOf(requeued)]).toEqual([[], 'FAILED']);
  });
});

/** Whether a task of a queue without `keep_completed` is deleted; with RETENTION 7 days and RETENTION_FAILED 30 days. */
const FLEETING: [string, number, TaskStatus, OldTask, boolean][] = [
  ['completed, submitted long ago', 9, 'COMPLETED', {}, true],
  ['completed, and could run long ago', 9, 'COMPLETED', { runAtDaysAgo: 8 }, true],
  ['completed, but could not run until a few days ago', 40, 'COMPLETED', { runAtDaysAgo: 6 }, false],
  ['completed, its time to run was before its submission', 6, 'COMPLETED', { runAtDaysAgo: 9 }, false],
  ['waiting', 100, 'PENDING', { runAtDaysAgo: 99 }, false],
  ['running', 100, 'PROCESSING', {}, false],
  ['failed, within RETENTION_FAILED', 100, 'FAILED', { finishedDaysAgo: 29 }, false],
  ['failed, after RETENTION_FAILED', 100, 'FAILED', { finishedDaysAgo: 32 }, true],
  ['cancelled, within RETENTION', 100, 'CANCELLED', { finishedDaysAgo: 6 }, false],
];

describe.each([
  ['in the default partition', async () => {}],
  ['in the partitions of its day', async (daysAgo: number) => void (await old.addDay(daysAgo))],
])('a task of which nothing is kept once it is completed, %s', (_where, prepare) => {
  it.each(FLEETING)('%s', async (_what, daysAgo, status, task, isDeleted) => {
    await prepare(daysAgo);
    const id = await old.addTask(daysAgo, status, { ...task, kept: false });
    expect(await parts.statusOf(id)).toBe(status);
    await old.pruneAll();
    expect(await parts.statusOf(id)).toBe(isDeleted ? null : status);
    if (isDeleted) expect(await old.tracesOf(id)).toEqual([]);
  });

  it('stays for RETENTION even if RETENTION_FAILED is shorter', async () => {
    const settings = { RETENTION: 30 * DAY, RETENTION_FAILED: 7 * DAY };
    for (const daysAgo of [20, 40]) await prepare(daysAgo);
    const [kept, gone] = [
      await old.addTask(20, 'COMPLETED', { kept: false }),
      await old.addTask(40, 'COMPLETED', { kept: false }),
    ];
    await old.pruneAll({ settings });
    expect([await parts.statusOf(kept), await old.tracesOf(gone)]).toEqual(['COMPLETED', []]);
  });
});

/** With this, a day is dropped only if none of its tasks must stay. */
const NO_MOVES = { movedTasks: 0 };

describe('days', () => {
  it('are dropped if no task has to be kept', async () => {
    const [gone, withOpen, withFailed, tooYoung] = [
      await old.addDay(40),
      await old.addDay(39),
      await old.addDay(20),
      await old.addDay(6),
    ];
    for (let i = 0; i < 9; i++) await old.addTask(40, 'COMPLETED');
    const failedOfDay = await old.addTask(40, 'FAILED', { finishedDaysAgo: 38 });
    const open = await old.addTask(39, 'SCHEDULED');
    await old.addTask(39, 'COMPLETED');
    const failed = await old.addTask(20, 'FAILED');
    await old.addTask(20, 'COMPLETED');
    const young = await old.addTask(6, 'COMPLETED');

    expect(await old.pruneAll({ limits: NO_MOVES })).toEqual({ keys: 0, tasks: 2, days: 1, queues: 0 });
    expect(await old.partitionsOf(gone)).toEqual([]);
    for (const day of [withOpen, withFailed, tooYoung])
      expect(await old.partitionsOf(day)).toHaveLength(PARTITIONED.length);
    expect(await old.idsIn('submissions')).toEqual([open, failed, young].toSorted());
    expect(await old.idsIn('dlq')).toEqual([failed]);
    expect(await old.tracesOf(failedOfDay)).toEqual([]);
  });

  it('with more tasks that must stay than may be moved stay until these end; all others go one by one', async () => {
    const day = await old.addDay(40);
    const open = await old.addTask(40, 'SCHEDULED');
    const others = [
      await old.addTask(40, 'COMPLETED'),
      await old.addTask(40, 'FAILED', { finishedDaysAgo: 38 }),
      await old.addTask(40, 'CANCELLED'),
      await old.addTask(40, 'COMPLETED', { kept: false }),
    ];
    const prune = () => old.pruneAll({ limits: NO_MOVES });
    expect(await prune()).toMatchObject({ tasks: 4, days: 0 });
    for (const id of others) expect(await old.tracesOf(id)).toEqual([]);
    expect(await parts.statusOf(open)).toBe('SCHEDULED');
    expect(await old.partitionsOf(day)).toHaveLength(PARTITIONED.length);

    await parts.sql(endTasks('CANCELLED', 'id = $1'), [open]);
    expect(await prune()).toMatchObject({ tasks: 0, days: 0 });
    await parts.sql(`UPDATE finished SET finished_at = now() - interval '8 days' WHERE id = $1`, [open]);
    expect(await prune()).toMatchObject({ tasks: 1, days: 1 });
    expect([await old.tracesOf(open), await old.partitionsOf(day)]).toEqual([[], []]);
  });

  it.each<[TaskStatus, number]>([
    ['SCHEDULED', 1],
    ['COMPLETED', 0],
  ])('are surveyed: an old task that is %s must stay: %s', async (status, held) => {
    const day = await old.addDay(40);
    await old.addTask(40, status);
    const times = { retentionMs: RETENTION.RETENTION, failedRetentionMs: RETENTION.RETENTION_FAILED };
    const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
    if (grant === null) throw new Error('the lease was free');
    const survey = await parts.sweepStore.surveyDay(grant, dateOf(day), lowestIdAt(0), times, 10, 10);
    expect(survey).toMatchObject({ looked: 1, held, lasting: held });
  });
});

describe('housekeeping', () => {
  it('deletes expired idempotency keys, and makes the partitions of future days', async () => {
    for (const [key, expiry] of [
      ['old', '-1 minute'],
      ['live', '1 minute'],
    ]) {
      await parts.sql(
        `INSERT INTO idempotency_keys (client, queue, key, request_hash, task_id, answer, expires_at)
         VALUES ('', 'default', $1, '', gen_random_uuid(), 'null', now() + $2::interval)`,
        [key, expiry],
      );
    }
    const future = dayOf(-7);
    await parts.sql(dropDayTables(future));
    expect(await old.pruneAll()).toEqual({ keys: 1, tasks: 0, days: 0, queues: 0 });
    expect(await parts.sql('SELECT key FROM idempotency_keys')).toEqual([{ key: 'live' }]);
    expect(await old.partitionsOf(future)).toEqual(PARTITIONED.map((table) => `${table}_${future}`).toSorted());
    // The planner gets no statistics of these columns, neither in the new partition nor in those of the migration.
    const counted = await parts.sql(
      `SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
       WHERE relname ~ '^submissions' AND relkind IN ('r', 'p') AND attname IN ('group', 'idempotency_key')
         AND attstattarget IS DISTINCT FROM 0`,
    );
    expect(counted).toEqual([]);
  });

  it('runs once per interval', async () => {
    const sweeper = parts.newSweeper({ settings: RETENTION });
    await sweeper.runOnce('reclaimer');
    await old.addTask(100, 'COMPLETED');
    expect((await sweeper.runOnce('reclaimer'))?.pruned.tasks).toBe(0);
  });
});
