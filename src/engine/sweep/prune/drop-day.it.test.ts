import { beforeEach, describe, expect, it } from 'vitest';
import { statementNamed } from '../../../../test/harness/assets.ts';
import {
  createOldTasks,
  dateOf,
  dayOf,
  midnight,
  type OldTasks,
  RETENTION,
} from '../../../../test/harness/old-tasks.ts';
import { untilTrue } from '../../../../test/harness/processes.ts';
import { createTestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { dropDayTables, endTasks, insertTasks, PARTITIONED } from '../../../../test/harness/task-rows.ts';
import { anActor, createAdminStore } from '../../../../test/harness/task-stores.ts';
import { FIRST_ID, lowestIdAt } from '../../../core/ids.ts';
import { createRequeueStore } from '../../../features/dlq/requeue-store.ts';
import type { Run } from '../../../postgres/database.ts';
import { lockPartitioned } from '../../../postgres/reads/reader.ts';
import type { LeaseGrant } from '../lease-store.ts';
import { createPruneStore } from './prune-store.ts';

const RETAINED = { retentionMs: RETENTION.RETENTION, failedRetentionMs: RETENTION.RETENTION_FAILED };
let parts: SweepTestParts;
let old: OldTasks;

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  old = createOldTasks(parts);
});

async function takeLease(): Promise<LeaseGrant> {
  const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
  if (grant === null) throw new Error('the lease was free');
  return grant;
}

/** Surveys a whole day, none of whose tasks must stay. */
async function survey(grant: LeaseGrant, day: string): Promise<void> {
  const found = await parts.sweepStore.surveyDay(grant, dateOf(day), FIRST_ID, RETAINED, 1_000, 10);
  expect(found).toMatchObject({ held: 0, lasting: 0 });
}

/** Drops a day, unless more than `most` of its tasks must stay. @returns how many were moved; null if nothing was dropped */
const drop = (grant: LeaseGrant, day: string, most = 0) => parts.sweepStore.dropDay(grant, dateOf(day), most);

/** Starts and completes a task that waits. */
async function runTask(id: string): Promise<void> {
  const [result] = await parts.store.start([id], 'w.1', 3, true);
  if (result?.verdict !== 'started') throw new Error('the task waited');
  const { attempt } = result.task;
  const outcome = { verb: 'complete', result: null } as const;
  const [settled] = await parts.store.settle('w.1', [{ id, attempt, outcome, reason: null }]);
  expect(settled?.verdict).toBe('settled');
}

const requeue = (id: string) => createAdminStore(parts.database).requeueOne(id, 'keep');

/** Returns stores whose statements run in a transaction of the test. */
const within = (run: Run) => ({ run, runWithin: () => run });

const all = (day: string): string[] => PARTITIONED.map((table) => `${table}_${day}`).toSorted();

describe('the partitions of a day', () => {
  it.each(PARTITIONED)('are made together or not at all: %s has rows in its default partition', async (table) => {
    const future = dayOf(-7);
    await parts.sql(dropDayTables(future));
    await old.addTask(-7, 'COMPLETED', { finishedDaysAgo: 1 });
    for (const other of PARTITIONED.filter((name) => name !== table)) await parts.sql(`DELETE FROM ${other}_default`);
    await parts.sweepStore.ensurePartitions(7);
    expect(await old.partitionsOf(future)).toEqual([]);
    await parts.sql(`DELETE FROM ${table}_default`);
    await parts.sweepStore.ensurePartitions(7);
    expect(await old.partitionsOf(future)).toEqual(all(future));
  });

  it.each(PARTITIONED)('are made together or not at all: %s is locked', async (table) => {
    const future = dayOf(-7);
    await parts.sql(dropDayTables(future));
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: `SELECT count(*) FROM ${table}_default` }, []);
      await parts.sweepStore.ensurePartitions(7);
    });
    expect(await old.partitionsOf(future)).toEqual([]);
    await parts.sweepStore.ensurePartitions(7);
    expect(await old.partitionsOf(future)).toEqual(all(future));
  });

  it('are not made if a row of the day is committed while they are made', async () => {
    const future = dayOf(-7);
    await parts.sql(dropDayTables(future));
    const waiting = `SELECT FROM pg_locks WHERE NOT granted AND relation = 'submissions_default'::regclass`;
    const ensured = await parts.database.transaction(async (run) => {
      await run({ name: '', text: insertTasks({ id: `'${lowestIdAt(midnight(-7))}'::uuid` }) }, []);
      const ensuring = parts.sweepStore.ensurePartitions(7);
      await untilTrue(async () => (await parts.sql(waiting)).length > 0);
      return () => ensuring;
    });
    expect(await ensured()).toBe(0);
    expect(await old.partitionsOf(future)).toEqual([]);
  });

  it.each(PARTITIONED)('are completed if that of %s is missing', async (table) => {
    const future = dayOf(-7);
    await parts.sql(dropDayTables(future, [table]));
    await parts.sweepStore.ensurePartitions(7);
    expect(await old.partitionsOf(future)).toEqual(all(future));
  });

  it.each(PARTITIONED)('are dropped together or not at all: %s is being read', async (table) => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'COMPLETED');
    const grant = await takeLease();
    await survey(grant, day);
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: `SELECT count(*) FROM ${table}_${day}` }, []);
      expect(await drop(grant, day)).toBeNull();
    });
    expect(await old.partitionsOf(day)).toEqual(all(day));
    expect(await old.tracesOf(id)).toEqual(['submissions', 'metadata_pairs', 'finished', 'attempts']);
    expect(await drop(grant, day)).toBe(0);
    expect([await old.partitionsOf(day), await old.tracesOf(id)]).toEqual([[], []]);
  });

  it('are dropped later if another transaction reads one; meanwhile the tasks are deleted one by one', async () => {
    const day = await old.addDay(40);
    await old.addTask(40, 'COMPLETED');
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: `SELECT count(*) FROM submissions_${day}` }, []);
      expect(await old.pruneAll()).toEqual({ keys: 0, tasks: 1, days: 0, queues: 0 });
    });
    expect(await old.pruneAll()).toEqual({ keys: 0, tasks: 0, days: 1, queues: 0 });
  });

  it.each(PARTITIONED.flatMap((table) => [{ missing: [table] }, { missing: PARTITIONED.filter((t) => t !== table) }]))(
    'are dropped if those of $missing are missing, once the default partitions have no rows of the day',
    async ({ missing }) => {
      const present = PARTITIONED.filter((table) => !missing.includes(table));
      const day = await old.addDay(40, present);
      const id = await old.addTask(40, 'FAILED');
      const grant = await takeLease();
      await survey(grant, day);
      expect(await drop(grant, day)).toBeNull();
      await parts.sql(`UPDATE sweeper SET until = clock_timestamp()`);
      // The day's rows in the default partitions are deleted first, row by row.
      expect(await old.pruneAll()).toEqual({ keys: 0, tasks: 1, days: 0, queues: 0 });
      expect(await old.tracesOf(id)).toEqual([]);
      expect(await old.pruneAll()).toEqual({ keys: 0, tasks: 0, days: 1, queues: 0 });
      expect(await old.partitionsOf(day)).toEqual([]);
    },
  );
});

describe('a drop looks again under its locks. If nothing may be moved it keeps the day, else it moves the task,', () => {
  it('if a task was requeued since the survey', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await survey(grant, day);
    expect(await requeue(id)).not.toBeNull();
    expect(await drop(grant, day)).toBeNull();
    expect(await parts.statusOf(id)).toBe('PENDING');
    expect([await drop(grant, day, 1), await old.partitionsOf(day)]).toEqual([1, []]);
    expect(await parts.statusOf(id)).toBe('PENDING');
  });

  it('if a task is unfinished, although the dead letter it came from is gone', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await survey(grant, day);
    await requeue(id);
    await parts.sql('DELETE FROM dlq');
    expect(await drop(grant, day)).toBeNull();
    expect(await parts.statusOf(id)).toBe('PENDING');
    expect([await drop(grant, day, 1), await old.partitionsOf(day)]).toEqual([1, []]);
    expect(await parts.statusOf(id)).toBe('PENDING');
  });

  it('if a task was requeued since the survey, and has even ended again', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await survey(grant, day);
    await requeue(id);
    await runTask(id);
    expect(await drop(grant, day)).toBeNull();
    expect(await parts.statusOf(id)).toBe('COMPLETED');
    expect([await drop(grant, day, 1), await old.partitionsOf(day)]).toEqual([1, []]);
    expect(await parts.statusOf(id)).toBe('COMPLETED');
  });

  it('if a requeue that began before the survey was committed after it, and the task has ended again', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await parts.database.transaction(async (run) => {
      await createRequeueStore(within(run)).requeueOne(id, 'keep', anActor());
      await survey(grant, day);
    });
    await runTask(id);
    const [letter] = await parts.sql(`SELECT requeued_at < surveyed_since AS before FROM dlq, past_days`);
    expect(letter).toEqual({ before: true });
    expect(await drop(grant, day)).toBeNull();
    expect(await parts.statusOf(id)).toBe('COMPLETED');
    expect([await drop(grant, day, 1), await old.partitionsOf(day)]).toEqual([1, []]);
    expect(await parts.statusOf(id)).toBe('COMPLETED');
  });

  it('if a requeue is under way', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await survey(grant, day);
    await parts.database.transaction(async (run) => {
      await createRequeueStore(within(run)).requeueOne(id, 'keep', anActor());
      expect(await drop(grant, day)).toBeNull();
    });
    expect(await drop(grant, day)).toBeNull();
    expect(await parts.statusOf(id)).toBe('PENDING');
    expect([await drop(grant, day, 1), await old.partitionsOf(day)]).toEqual([1, []]);
    expect(await parts.statusOf(id)).toBe('PENDING');
  });

  it('if a task of its first slice was requeued and has ended while later slices were surveyed', async () => {
    const day = await old.addDay(40);
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await old.addTask(40, 'FAILED'));
    const [first = ''] = ids.toSorted();
    const sweeper = parts.newSweeper({
      settings: RETENTION,
      limits: { pruneIntervalMs: 0, dutyMs: 0, surveyRows: 2, movedTasks: 0 },
    });
    const sweepSlice = async () => {
      const { days } = (await sweeper.runOnce('reclaimer'))?.pruned ?? { days: -1 };
      const [row] = await parts.sql<{ after: string; since: string }>(
        `SELECT surveyed_to AS after, surveyed_since::text AS since FROM past_days`,
      );
      return { days, ...row };
    };
    const one = await sweepSlice();
    expect(one).toMatchObject({ days: 0, after: ids.toSorted()[1], since: expect.any(String) });
    await requeue(first);
    await runTask(first);
    const two = await sweepSlice();
    expect(two).toMatchObject({ days: 0, after: ids.toSorted()[3], since: one.since });
    expect(await sweepSlice()).toMatchObject({ days: 0 });
    expect(await old.partitionsOf(day)).toEqual(all(day));
    expect(await parts.statusOf(first)).toBe('COMPLETED');
  });
});

describe('a drop', () => {
  it('goes through several slices', async () => {
    const day = await old.addDay(40);
    for (let i = 0; i < 5; i++) await old.addTask(40, 'COMPLETED');
    expect(await old.pruneAll({ limits: { surveyRows: 2 } })).toMatchObject({ tasks: 0, days: 1 });
    expect([await old.partitionsOf(day), await old.idsIn('submissions')]).toEqual([[], []]);
  });

  it('deletes the open dead letters before it, in batches', async () => {
    const day = await old.addDay(40);
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await old.addTask(40, 'FAILED'));
    const grant = await takeLease();
    await survey(grant, day);
    const [first = ''] = ids.toSorted();
    await requeue(first);
    const unbury = () => parts.sweepStore.unburyDay(grant, dateOf(day), 3);
    expect([await unbury(), await unbury()]).toEqual([3, 1]);
    // The drop still has to see that this one was requeued.
    expect(await old.idsIn('dlq')).toEqual([first]);
    expect(await drop(grant, day)).toBeNull();
  });

  it('goes on where it was if there are more dead letters than one batch has', async () => {
    const day = await old.addDay(40);
    for (let i = 0; i < 5; i++) await old.addTask(40, 'FAILED');
    expect(await old.pruneAll({ limits: { batchRows: 2 } })).toMatchObject({ tasks: 0, days: 1 });
    expect([await old.partitionsOf(day), await old.idsIn('dlq')]).toEqual([[], []]);
  });

  it.each([
    ['settle', /\b(finished|attempts|submissions)\b/g],
    ['reclaim', /\b(finished|attempts|submissions)\b/g],
    ['requeue', /\b(finished|attempts|submissions)\b/g],
    ['submit', /\b(submissions|metadata_pairs)\b/g],
    ['the snapshot of a list', /\b(finished|attempts|submissions|metadata_pairs)\b/g],
  ])('locks the tables in the order in which %s does', async (name, tables) => {
    const order = (text: string) => [...new Set(text.match(tables))];
    const [row] = await parts.sql<{ text: string }>(
      `SELECT substring(prosrc from 'FOREACH parent IN ARRAY ARRAY.*?LOOP') AS text FROM pg_proc WHERE proname = 'drop_partitions_of'`,
    );
    const text = name === 'the snapshot of a list' ? lockPartitioned('') : statementNamed(name).text;
    // In another order, the drop and such a statement could wait for each other.
    expect(order(row?.text ?? '')).toEqual(order(text.replaceAll(/^--.*$/gm, '')));
  });

  it('makes a requeue that waits for it find nothing', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    const grant = await takeLease();
    await survey(grant, day);
    const waiting = `SELECT FROM pg_locks WHERE NOT granted AND relation = 'finished'::regclass`;
    const requeued = await parts.database.transaction(async (run) => {
      expect(await createPruneStore(within(run)).dropDay(grant, dateOf(day), 0)).toBe(0);
      const requeuing = requeue(id);
      await untilTrue(async () => (await parts.sql(waiting)).length > 0);
      return () => requeuing;
    });
    expect(await requeued()).toBeNull();
    expect(await old.tracesOf(id)).toEqual([]);
  });

  it('of a day whose requeued task ended long ago is not refused', async () => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'FAILED');
    await requeue(id);
    await parts.sql(endTasks('CANCELLED', 'id = $1', `now() - interval '8 days'`), [id]);
    await parts.sql(`UPDATE dlq SET requeued_at = now() - interval '9 days'`);
    expect(await old.pruneAll()).toMatchObject({ tasks: 0, days: 1 });
    expect([await old.tracesOf(id), await old.partitionsOf(day)]).toEqual([[], []]);
  });

  it.each([
    ['another has taken it over', `UPDATE sweeper SET holder = 'another'`],
    ['its holder has taken it anew', `UPDATE sweeper SET pass = pass + 1`],
    ['its time is over', `UPDATE sweeper SET until = clock_timestamp() - interval '1 second'`],
  ])('does nothing once the lease is lost: %s', async (_, lost) => {
    const day = await old.addDay(40);
    const id = await old.addTask(40, 'COMPLETED');
    const grant = await takeLease();
    await survey(grant, day);
    const [{ until } = { until: '' }] = await parts.sql<{ until: string }>('SELECT until::text AS until FROM sweeper');
    await parts.sql(lost);
    const dropIt = () => drop(grant, day);
    expect(await dropIt()).toBeNull();
    expect(await parts.statusOf(id)).toBe('COMPLETED');
    // With the lease the same call drops the day, so nothing else prevented it.
    await parts.sql(`UPDATE sweeper SET holder = 'me', pass = $1, until = $2::timestamptz`, [grant.pass, until]);
    expect(await dropIt()).toBe(0);
  });
});
