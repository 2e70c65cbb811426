import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { startRedis } from '../harness/private-stores.ts';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem, type TestSystem } from '../harness/system.ts';

async function completed(system: TestSystem): Promise<number> {
  const [row] = await system.rows<{ count: string }>(`SELECT count(*) FROM tasks WHERE status = 'COMPLETED'`);
  return Number(row?.count);
}

async function expectEachDoneOnce(system: TestSystem, tasks: number): Promise<void> {
  expect(await system.untilAllEnded(90_000)).toEqual({ COMPLETED: tasks });
  const [row] = await system.rows(`
    SELECT count(*) FILTER (WHERE outcome = 'COMPLETED')::int AS completed,
           count(*) FILTER (WHERE outcome = 'LOST')::int AS lost,
           count(*) FILTER (WHERE outcome IS NULL)::int AS open
    FROM execution_logs`);
  expect(row).toEqual({ completed: tasks, lost: 0, open: 0 });
}

const work = (tasks: number) => Array.from({ length: tasks }, () => ({ payload: null, execution_time: 0.05 }));

describe('every task completes once and no worker is presumed dead when Redis', () => {
  it('is flushed twice under load, with two reclaimers', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    const system = await startSystem(stores);
    await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer(), system.startReclaimer()]);
    await system.submitBatch(work(1_500));
    for (const share of [300, 800]) {
      await untilTrue(async () => (await completed(system)) >= share, { timeoutMs: 60_000 });
      await withRedis(redis.url, (connection) => connection.flushall());
    }
    await system.submitBatch(work(100));
    await expectEachDoneOnce(system, 1_600);
  }, 120_000);

  it('restarts from an old snapshot, with outdated entries and without the newest tasks', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    const system = await startSystem(stores);
    await Promise.all([system.startWorker(), system.startReclaimer()]);
    await system.submitBatch(work(400));
    await untilTrue(async () => (await completed(system)) >= 50, { timeoutMs: 60_000 });
    const snapshot = join(redis.dataDirectory, 'dump.rdb');
    await withRedis(redis.url, (connection) => connection.save());
    copyFileSync(snapshot, `${snapshot}.old`);
    await untilTrue(async () => (await completed(system)) >= 200, { timeoutMs: 60_000 });
    await system.submitBatch(work(200));
    await redis.kill();
    copyFileSync(`${snapshot}.old`, snapshot);
    await redis.restart();
    await expectEachDoneOnce(system, 600);
  }, 120_000);

  it('is down for less and for more than HEARTBEAT_GAP and keeps its registry of workers', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    const beats = { HEARTBEAT_INTERVAL: '1s', HEARTBEAT_GAP: '1500ms', HEARTBEAT_TTL: '5s', SWEEP_INTERVAL: '500ms' };
    const system = await startSystem(stores, beats);
    await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer()]);
    await system.submitBatch(Array.from({ length: 20 }, () => ({ payload: null, execution_time: 12 })));
    const isBeating = async (): Promise<boolean> => {
      const { items } = (await system.get('/workers')) as { items: { last_beat_age: number; busy: number }[] };
      return items.length === 2 && items.every(({ last_beat_age: age, busy }) => age < 1 && busy > 0);
    };
    for (const awayMs of [1_000, 3_500]) {
      await untilTrue(isBeating);
      await withRedis(redis.url, (connection) => connection.save());
      await redis.kill();
      await delay(awayMs);
      await redis.restart();
    }
    await expectEachDoneOnce(system, 20);
  }, 120_000);

  it('is down during submissions, which get 200; the tasks start when Redis is back, even without the API', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    const system = await startSystem(stores);
    await Promise.all([system.startWorker(), system.startReclaimer()]);
    await redis.stop();
    const ids = await Promise.all(
      Array.from({ length: 20 }, () => system.submit({ payload: null, execution_time: 0 })),
    );
    expect(new Set(ids).size).toBe(20);
    system.api.signal('SIGKILL');
    await system.api.waitForExit();
    await redis.restart();
    const backAt = Date.now();
    await expectEachDoneOnce(system, 20);
    expect(Date.now() - backAt).toBeLessThan(15_000);
  }, 60_000);
});
