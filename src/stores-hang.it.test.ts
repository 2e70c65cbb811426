import { expect, it } from 'vitest';
import { migrate, startPostgres, startRedis } from '../test/harness/private-stores.ts';
import { untilTrue } from '../test/harness/processes.ts';
import { createTestStores } from '../test/harness/stores.ts';
import { startSystem } from '../test/harness/system.ts';

/**
 * Seconds that a pod has in addition to its drain timeout: for the API, for a worker, and for a reclaimer, which has no
 * drain timeout.
 */
const BEYOND_GRACE = { api: 10, worker: 15, reclaimer: 5 };

it('every process ends within the time limit of its pod, even if both stores hang', async () => {
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  const stores = await createTestStores({ databaseUrl: postgres.url, redisUrl: redis.url });
  await migrate(stores.env);
  const system = await startSystem(stores, { SHUTDOWN_GRACE: '1s' });
  const [busy, idle, reclaimer] = [
    await system.startWorker(),
    await system.startWorker({ WORKER_QUEUES: 'idle' }),
    await system.startReclaimer(),
  ];
  const id = await system.submit({ payload: null, execution_time: 60 });
  await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'PROCESSING');

  postgres.pause();
  redis.pause();
  const unanswered = system.post('/tasks', { payload: 'too late' }).then(
    ({ status }) => status,
    () => 'cut off',
  );
  const processes = [system.api, busy, idle, reclaimer];
  // By then most loops of the processes wait for PostgreSQL.
  await Promise.all(
    processes.map((process) =>
      process.waitForLine(({ store, msg }) => store === 'redis' && msg === 'store does not answer'),
    ),
  );
  const signalledAt = performance.now();
  const took = await Promise.all(
    processes.map(async (process) => {
      process.signal('SIGTERM');
      await process.waitForExit(60_000);
      return (performance.now() - signalledAt) / 1_000;
    }),
  );
  expect(await unanswered).not.toBe(200);
  postgres.resume();
  redis.resume();

  const [ofApi, ofBusy, ofIdle, ofReclaimer] = took as [number, number, number, number];
  expect(ofApi).toBeLessThan(1 + BEYOND_GRACE.api);
  expect(ofBusy).toBeLessThan(1 + BEYOND_GRACE.worker);
  expect(ofIdle).toBeLessThan(1 + BEYOND_GRACE.worker);
  expect(ofReclaimer).toBeLessThan(BEYOND_GRACE.reclaimer);
}, 120_000);
