import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { createIdSource, lowestIdAt } from '../../../core/ids.ts';
import type { TaskStatus } from '../../../core/task.ts';
import type { SweepResult } from '../sweep-result.ts';

const DAY = 86_400_000;
const RETENTION = { RETENTION: 7 * DAY, RETENTION_FAILED: 30 * DAY };
let parts: SweepTestParts;

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
});

/** Prunes until the round is over. */
async function pruneAll(): Promise<SweepResult['pruned']> {
  const total = { keys: 0, tasks: 0, days: 0, queues: 0 };
  const sweeper = parts.newSweeper({ settings: RETENTION, limits: { pruneIntervalMs: 0, batchRows: 4, dutyMs: 0 } });
  for (;;) {
    const result = await sweeper.runOnce('reclaimer');
    if (result === null) throw new Error('nobody else sweeps');
    total.keys += result.pruned.keys;
    total.tasks += result.pruned.tasks;
    total.days += result.pruned.days;
    const [row] = await parts.sql<{ phase: string | null }>(`SELECT cursors #>> '{prune,phase}' AS phase FROM sweeper`);
    if (row?.phase === null) return total;
  }
}

const midnight = (daysAgo: number): number => Math.floor(Date.now() / DAY) * DAY - daysAgo * DAY;
const nameOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10).replaceAll('-', '');

/** Returns the date in a partition's name. */
const dateOf = (name: string): string => `${name.slice(0, 4)}-${name.slice(4, 6)}-${name.slice(6)}`;

/** Adds the partitions of a past day. */
async function addDay(daysAgo: number): Promise<string> {
  const from = midnight(daysAgo);
  const name = nameOf(from);
  for (const parent of ['tasks', 'execution_logs']) {
    const range = `FROM ('${lowestIdAt(from)}') TO ('${lowestIdAt(from + DAY)}')`;
    await parts.sql(`CREATE TABLE ${parent}_${name} PARTITION OF ${parent} FOR VALUES ${range}`);
  }
  return name;
}

/** Adds a task that was created `daysAgo` days ago, with a log and (if it failed) a dead letter. */
async function addTask(daysAgo: number, status: TaskStatus, finishedDaysAgo = daysAgo): Promise<string> {
  const id = createIdSource(() => midnight(daysAgo) + DAY / 2, randomBytes).next();
  const finished = ['COMPLETED', 'FAILED', 'CANCELLED'].includes(status)
    ? new Date(midnight(finishedDaysAgo) + DAY / 2)
    : null;
  await parts.sql(
    `INSERT INTO tasks (id, queue, payload, priority, status, place_ms, run_at, max_retries, timeout_ms, trace_id, worker_id, finished_at)
     VALUES ($1, 'default', 'null', 2, $2, 0, now(), 3, 1000, 'test', $3, $4)`,
    [id, status, status === 'PROCESSING' ? 'w.1' : null, finished],
  );
  await parts.sql(
    `INSERT INTO execution_logs (task_id, attempt, worker_id, started_at, ordinal) VALUES ($1, 1, 'w.1', now(), 1)`,
    [id],
  );
  if (status === 'FAILED') {
    await parts.sql(
      `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at) VALUES ($1, 1, 'default', 2, 'final_error', '[]', now())`,
      [id],
    );
  }
  return id;
}

const idsIn = async (table: string, column = 'id'): Promise<string[]> => {
  const rows = await parts.sql<{ id: string }>(`SELECT ${column} AS id FROM ${table} ORDER BY 1`);
  return rows.map(({ id }) => id);
};

const partitions = async (): Promise<string[]> => {
  const rows = await parts.sql<{ name: string }>(`SELECT inhrelid::regclass::text AS name FROM pg_inherits`);
  return rows.map(({ name }) => name);
};

describe('pruning', () => {
  it('deletes finished tasks after their retention, with logs and dead letters, but no unfinished task', async () => {
    const kept = [
      await addTask(100, 'PENDING'),
      await addTask(100, 'SCHEDULED'),
      await addTask(100, 'PROCESSING'),
      await addTask(100, 'COMPLETED', 6),
      await addTask(100, 'FAILED', 29),
      await addTask(20, 'FAILED'),
      await addTask(3, 'CANCELLED'),
    ];
    for (let i = 0; i < 5; i++) await addTask(9, 'COMPLETED');
    await addTask(9, 'CANCELLED');
    await addTask(32, 'FAILED');
    expect(await pruneAll()).toEqual({ keys: 0, tasks: 7, days: 0, queues: 0 });
    expect(await idsIn('tasks')).toEqual(kept.toSorted());
    expect(await idsIn('execution_logs', 'task_id')).toEqual(kept.toSorted());
    expect(await idsIn('dlq', 'task_id')).toEqual([kept[4] as string, kept[5] as string].toSorted());
  });

  it('drops a past day without tasks that have to be kept, and keeps other days', async () => {
    const [gone, withOpen, withFailed, tooYoung] = [
      await addDay(40),
      await addDay(39),
      await addDay(20),
      await addDay(6),
    ];
    for (let i = 0; i < 9; i++) await addTask(40, 'COMPLETED');
    await addTask(40, 'FAILED', 38);
    const open = await addTask(39, 'SCHEDULED');
    await addTask(39, 'COMPLETED');
    const failed = await addTask(20, 'FAILED');
    await addTask(20, 'COMPLETED');
    const young = await addTask(6, 'COMPLETED');

    expect(await pruneAll()).toEqual({ keys: 0, tasks: 2, days: 1, queues: 0 });
    const left = await partitions();
    expect(left.filter((name) => name.endsWith(gone))).toEqual([]);
    for (const day of [withOpen, withFailed, tooYoung])
      expect(left.filter((name) => name.endsWith(day))).toHaveLength(2);
    expect(await idsIn('tasks')).toEqual([open, failed, young].toSorted());
    expect(await idsIn('dlq', 'task_id')).toEqual([failed]);
  });

  it.each(['tasks', 'execution_logs'])('drops a day that has a partition of %s only', async (kept) => {
    const other = kept === 'tasks' ? 'execution_logs' : 'tasks';
    const day = await addDay(40);
    await parts.sql(`DROP TABLE ${other}_${day}`);
    await addTask(40, 'COMPLETED');
    // The day's rows in the default partition of the other table are deleted first, row by row.
    expect(await pruneAll()).toEqual({ keys: 0, tasks: 1, days: 0, queues: 0 });
    expect(await pruneAll()).toEqual({ keys: 0, tasks: 0, days: 1, queues: 0 });
    expect((await partitions()).filter((name) => name.endsWith(day))).toEqual([]);
    expect(await idsIn('execution_logs', 'task_id')).toEqual([]);
  });

  it.each(['tasks', 'execution_logs'])(
    'makes both partitions of a day or none: %s has rows in its default partition',
    async (table) => {
      const future = nameOf(midnight(-7));
      await parts.sql(`DROP TABLE tasks_${future}, execution_logs_${future}`);
      await addTask(-7, 'COMPLETED', 1);
      const other = table === 'tasks' ? 'execution_logs' : 'tasks';
      await parts.sql(`DELETE FROM ${other}_default`);
      await pruneAll();
      expect((await partitions()).filter((name) => name.endsWith(future))).toEqual([]);
      await parts.sql(`DELETE FROM ${table}_default`);
      await pruneAll();
      expect((await partitions()).filter((name) => name.endsWith(future))).toHaveLength(2);
    },
  );

  it('does not drop a day whose task was requeued after the survey', async () => {
    const day = await addDay(40);
    const id = await addTask(40, 'FAILED');
    const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
    await parts.sql(`UPDATE tasks SET status = 'PENDING', finished_at = NULL WHERE id = $1`, [id]);
    expect(grant).not.toBeNull();
    if (grant !== null) expect(await parts.sweepStore.dropDay(grant, dateOf(day))).toBe(false);
    expect(await parts.statusOf(id)).toBe('PENDING');
  });

  it.each([
    ['another has taken it over', `UPDATE sweeper SET holder = 'another'`],
    ['its holder has taken it anew', `UPDATE sweeper SET pass = pass + 1`],
    ['its time is over', `UPDATE sweeper SET until = clock_timestamp() - interval '1 second'`],
  ])('drops no day once the lease is lost: %s', async (_, lost) => {
    const day = await addDay(40);
    const id = await addTask(40, 'COMPLETED');
    const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
    if (grant === null) throw new Error('the lease was free');
    const [{ until } = { until: '' }] = await parts.sql<{ until: string }>('SELECT until::text AS until FROM sweeper');
    await parts.sql(lost);
    const drop = () => parts.sweepStore.dropDay(grant, dateOf(day));
    expect(await drop()).toBe(false);
    expect(await parts.statusOf(id)).toBe('COMPLETED');
    // With the lease the same call drops the day, so nothing else prevented it.
    await parts.sql(`UPDATE sweeper SET holder = 'me', pass = $1, until = $2::timestamptz`, [grant.pass, until]);
    expect(await drop()).toBe(true);
  });

  it.each<[TaskStatus, boolean]>([
    ['SCHEDULED', true],
    ['COMPLETED', false],
  ])('surveys a day with an old task that is %s: wanted %s', async (status, wanted) => {
    const day = await addDay(40);
    await addTask(40, status);
    const times = { retentionMs: RETENTION.RETENTION, failedRetentionMs: RETENTION.RETENTION_FAILED };
    expect(await parts.sweepStore.surveyDay(dateOf(day), lowestIdAt(0), times, 10)).toMatchObject({
      looked: 1,
      wanted,
    });
  });

  it('drops a day later if another transaction reads it', async () => {
    await addDay(40);
    await addTask(40, 'COMPLETED');
    const name = `tasks_${nameOf(midnight(40))}`;
    await parts.database.transaction(async (run) => {
      await run({ name: 'test-read-day', text: `SELECT count(*) FROM ${name}` }, []);
      // The row can be deleted, but the table cannot be dropped.
      expect(await pruneAll()).toEqual({ keys: 0, tasks: 1, days: 0, queues: 0 });
    });
    expect(await pruneAll()).toEqual({ keys: 0, tasks: 0, days: 1, queues: 0 });
  });

  it('deletes expired idempotency keys, and makes the partitions of future days', async () => {
    for (const [key, expiry] of [
      ['old', '-1 minute'],
      ['live', '1 minute'],
    ]) {
      await parts.sql(
        `INSERT INTO idempotency_keys (scope, key, request_hash, task_id, answer, expires_at)
         VALUES ('tasks', $1, '', gen_random_uuid(), 'null', now() + $2::interval)`,
        [key, expiry],
      );
    }
    const future = nameOf(midnight(-7));
    await parts.sql(`DROP TABLE tasks_${future}, execution_logs_${future}`);
    expect(await pruneAll()).toEqual({ keys: 1, tasks: 0, days: 0, queues: 0 });
    expect(await idsIn('idempotency_keys', 'key')).toEqual(['live']);
    expect((await partitions()).filter((name) => name.endsWith(future))).toHaveLength(2);
  });

  it('runs once per interval', async () => {
    const sweeper = parts.newSweeper({ settings: RETENTION });
    await sweeper.runOnce('reclaimer');
    await addTask(100, 'COMPLETED');
    expect((await sweeper.runOnce('reclaimer'))?.pruned.tasks).toBe(0);
  });
});
