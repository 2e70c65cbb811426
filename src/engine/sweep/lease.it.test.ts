import { beforeEach, describe, expect, it } from 'vitest';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import type { SweepQueue } from '../../../test/harness/sweeping.ts';
import { openSweepParts, type SweepTestParts } from '../../../test/harness/sweeping.ts';
import { endTasks } from '../../../test/harness/task-rows.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { FIRST_ID, LAST_ID } from '../../core/ids.ts';
import type { NewTask } from '../../core/task.ts';
import { createStandIn, type StandInRole } from '../../reclaimer/stand-in.ts';
import type { LeaseGrant } from './lease-store.ts';

let parts: SweepTestParts;
const TTL = { HEARTBEAT_TTL: 10_000, HEARTBEAT_INTERVAL: 3_000 };

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  await parts.queue.setSettings('default', { version: 1, paused: false });
  await parts.gapEnded(3_600_000);
});

async function withDeadWorker(tasks: number): Promise<NewTask[]> {
  const submitted = Array.from({ length: tasks }, () => parts.newTask());
  await parts.submit(submitted);
  await parts.start('dead.1');
  await parts.beaten('dead.1', 60_000);
  return submitted;
}

interface SweeperRow {
  readonly holder: string;
  readonly pass: number;
  readonly passes_by_reclaimer: number;
  readonly passes_by_worker: number;
  readonly succeeded: boolean;
  readonly by_reclaimer: boolean;
}

async function sweeperRow(): Promise<SweeperRow> {
  const [row] = await parts.sql<SweeperRow>(
    `SELECT holder, pass, passes_by_reclaimer, passes_by_worker, last_success_at IS NOT NULL AS succeeded,
            reclaimer_success_at IS NOT NULL AS by_reclaimer FROM sweeper`,
  );
  return row as SweeperRow;
}

const takeOver = () =>
  parts.sql(`UPDATE sweeper SET holder = 'another', pass = pass + 1, until = clock_timestamp() + interval '1 hour'`);

/** Returns a queue that runs an action before each call of one method. */
function interrupted(name: keyof SweepQueue, before: () => Promise<unknown>): SweepQueue {
  const call = parts.sweepQueue[name] as (...args: unknown[]) => Promise<unknown>;
  return {
    ...parts.sweepQueue,
    async [name](...args: unknown[]) {
      await before();
      return call(...args);
    },
  };
}

describe('the lease', () => {
  it('admits one sweeper, and another one as soon as the pass is over', async () => {
    await withDeadWorker(20);
    const meanwhile: unknown[] = [];
    const other = parts.newSweeper({ settings: TTL });
    const sweepQueue = interrupted('silences', async () => meanwhile.push(await other.runOnce('reclaimer')));
    const result = await parts.newSweeper({ settings: TTL, sweepQueue }).runOnce('reclaimer');
    expect(meanwhile).toEqual([null]);
    expect(result).toMatchObject({ reclaimed: 20 });
    expect(await other.runOnce('reclaimer')).toMatchObject({ reclaimed: 0 });
  });

  it('counts a loss once when several sweepers run at the same time', async () => {
    const [task] = await withDeadWorker(50);
    const results = await Promise.all(
      Array.from({ length: 4 }, () => parts.newSweeper({ settings: TTL }).runOnce('reclaimer')),
    );
    expect(results.reduce((sum, result) => sum + (result?.reclaimed ?? 0), 0)).toBe(50);
    expect(await parts.sql('SELECT DISTINCT lost FROM tasks')).toEqual([{ lost: 1 }]);
    expect(task).toBeDefined();
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 50, inflight: 0 });
  });

  it('is not taken by a sweeper that does not reach Redis, because it would block reclaim', async () => {
    await withDeadWorker(20);
    const away = new StoreUnavailableError('redis', new Error('cut off'));
    const sweepQueue = interrupted('beat', () => Promise.reject(away));
    await expect(parts.newSweeper({ settings: TTL, sweepQueue }).runOnce('reclaimer')).rejects.toBe(away);
    expect(await parts.newSweeper({ settings: TTL }).runOnce('reclaimer')).toMatchObject({ reclaimed: 20 });
  });

  it('lets a pass write nothing once another sweeper has taken it over', async () => {
    await withDeadWorker(3);
    const sweeper = parts.newSweeper({ settings: TTL, sweepQueue: interrupted('silences', takeOver) });
    expect(await sweeper.runOnce('reclaimer')).toBeNull();
    expect(await parts.sql(`SELECT DISTINCT status::text AS status, lost FROM tasks`)).toEqual([
      { status: 'PROCESSING', lost: 0 },
    ]);
    expect(await parts.sql(`SELECT outcome FROM execution_logs WHERE outcome IS NOT NULL`)).toEqual([]);
    expect(await sweeperRow()).toMatchObject({ holder: 'another', passes_by_reclaimer: 0, succeeded: false });
  });

  it.each([
    ['another has taken it over', takeOver],
    ['its time is over', () => parts.sql(`UPDATE sweeper SET until = clock_timestamp() - interval '1 second'`)],
  ])('is checked by every write that needs it: %s', async (_, lose) => {
    const old = parts.newTask();
    await parts.submit([old]);
    await parts.sql(endTasks('COMPLETED', 'true', `now() - interval '1 hour'`));
    await parts.sql(
      `INSERT INTO idempotency_keys (client, queue, key, request_hash, task_id, answer, expires_at)
       VALUES ('', 'default', 'expired', '', $1, '{}', now() - interval '1 hour')`,
      [old.id],
    );
    const grant = await parts.sweepStore.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
    if (grant === null) throw new Error('the lease was free');
    await lose();
    const { sweepStore } = parts;
    const retention = { retentionMs: -1_000, failedRetentionMs: -1_000 };
    expect(await sweepStore.renewLease(grant, 1_000)).toBe(false);
    expect(await sweepStore.endPass(grant, { role: 'worker', well: true, watermark: null, cursors: '{}' })).toBe(false);
    const all = { from: FIRST_ID, before: LAST_ID };
    expect(await sweepStore.pruneTasks(grant, FIRST_ID, all, retention, 10)).toMatchObject({
      looked: 0,
      deleted: 0,
    });
    expect(await sweepStore.pruneKeys(grant, 10)).toBe(0);
    const today = new Date().toISOString().slice(0, 10);
    expect(await sweepStore.unburyDay(grant, today, 10)).toBe(0);
    expect(await sweepStore.dropDay(grant, today, 10)).toBeNull();
    expect(await sweepStore.surveyDay(grant, today, FIRST_ID, retention, 10, 10)).toBeNull();
    await sweepStore.noteDay(grant, today, 0, 0);
    expect(await parts.sql(`SELECT FROM past_days`)).toEqual([]);
    expect(await sweepStore.rebuildIndex(grant)).toBeNull();
    expect(await parts.statusOf(old.id)).toBe('COMPLETED');
  });

  it('may be taken again by its holder at once, and cannot be renewed once its time is over', async () => {
    const { sweepStore } = parts;
    const times = { overlapMs: 0, lagMs: 0 };
    const first = (await sweepStore.takeLease('one', { ...times, leaseMs: 60_000 })) as LeaseGrant;
    expect(await sweepStore.takeLease('two', { ...times, leaseMs: 60_000 })).toBeNull();
    const second = (await sweepStore.takeLease('one', { ...times, leaseMs: 50 })) as LeaseGrant;
    expect(second.pass).toBe(first.pass + 1);
    expect(await sweepStore.renewLease(first, 60_000), 'of the pass before').toBe(false);
    await untilTrue(async () => (await sweepStore.lookAtLease()).free);
    expect(await sweepStore.renewLease(second, 60_000)).toBe(false);
    expect(await sweepStore.endPass(second, { role: 'worker', well: true, watermark: null, cursors: '{}' })).toBe(
      false,
    );
  });

  it('is taken from a holder that vanished once its time is over', async () => {
    await parts.sql(`UPDATE sweeper SET holder = 'vanished', until = clock_timestamp() + interval '100 milliseconds'`);
    const sweeper = parts.newSweeper();
    expect(await sweeper.runOnce('worker')).toBeNull();
    await expect.poll(() => sweeper.runOnce('worker')).not.toBeNull();
  });

  it('is renewed while a long pass goes on', async () => {
    let monotonicMs = 0;
    const renewed: boolean[] = [];
    const store = {
      ...parts.sweepStore,
      async renewLease(...args: Parameters<typeof parts.sweepStore.renewLease>) {
        const held = await parts.sweepStore.renewLease(...args);
        renewed.push(held);
        return held;
      },
    };
    const clock = { nowMs: () => 0, monotonicMs: () => (monotonicMs += 400) };
    await parts.newSweeper({ store, clock }).runOnce('reclaimer');
    expect(renewed.length).toBeGreaterThan(1);
    expect(renewed.every(Boolean)).toBe(true);
  });

  it('counts passes by the role that ran them', async () => {
    await parts.newSweeper().runOnce('worker');
    expect(await sweeperRow()).toMatchObject({
      passes_by_worker: 1,
      passes_by_reclaimer: 0,
      succeeded: true,
      by_reclaimer: false,
    });
    await parts.newSweeper().runOnce('reclaimer');
    expect(await sweeperRow()).toMatchObject({ passes_by_worker: 1, passes_by_reclaimer: 1, by_reclaimer: true });
  });
});

describe('a stand-in', () => {
  const idle = (seconds: number) =>
    parts.sql(`UPDATE sweeper SET last_success_at = clock_timestamp() - $1 * interval '1 second'`, [seconds]);
  const newStandIn = (holder = 'w.1', role: StandInRole = 'worker') =>
    createStandIn({ ...parts.config, ...TTL }, { ...parts, role, holder });

  it('sweeps only when the last pass is too long ago', async () => {
    await withDeadWorker(2);
    await idle(2);
    const standIn = newStandIn();
    expect(await standIn.runOnce()).toBeNull();
    await idle(4);
    expect(await standIn.runOnce()).toMatchObject({ role: 'worker', reclaimed: 2 });
    expect(await standIn.runOnce()).toBeNull();
    expect(await newStandIn('w.2').runOnce()).toBeNull();
  });

  it('sweeps after start(), and stops in the middle of a pass', async () => {
    const begun = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const queue = {
      ...parts.queue,
      async setSettings(...args: Parameters<typeof parts.queue.setSettings>) {
        begun.resolve();
        await release.promise;
        await parts.queue.setSettings(...args);
      },
    };
    const standIn = createStandIn({ ...parts.config, ...TTL }, { ...parts, queue, role: 'worker', holder: 'w.1' });
    await standIn.start();
    await begun.promise;
    const stopped = standIn.stop();
    release.resolve();
    await stopped;
    expect(await sweeperRow()).toMatchObject({ holder: 'w.1', passes_by_worker: 0 });
    expect(await newStandIn('w.1').runOnce()).toBeNull();
    await parts.sql(`UPDATE sweeper SET until = clock_timestamp()`);
    const again = newStandIn('w.1');
    await again.start();
    await expect.poll(async () => (await sweeperRow()).passes_by_worker).toBe(1);
    await again.stop();
  });

  it('does not sweep while another sweeper holds the lease', async () => {
    await takeOver();
    await idle(60);
    expect(await newStandIn().runOnce()).toBeNull();
  });

  it('does not prune', async () => {
    const task = parts.newTask();
    await parts.submit([task]);
    await parts.sql(endTasks('COMPLETED', 'true', `now() - interval '1 year'`));
    const config = { ...parts.config, ...TTL, RETENTION: -60_000, RETENTION_FAILED: -60_000 };
    await createStandIn(config, { ...parts, role: 'worker', holder: 'w.1' }).runOnce();
    expect(await parts.statusOf(task.id)).toBe('COMPLETED');
  });
});
