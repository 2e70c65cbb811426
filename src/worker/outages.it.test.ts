import { beforeAll, describe, expect, test } from 'vitest';
import { migrate, startPostgres, startRedis, type PrivateServer } from '../../test/harness/private-stores.ts';
import { startProcess, untilTrue } from '../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { createWorkerBed, type WorkerBed } from '../../test/worker-bed.ts';

let postgres: PrivateServer;
let redis: PrivateServer;
let stores: TestStores;
let bed: WorkerBed;

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  stores = await createTestStores({ databaseUrl: postgres.url, redisUrl: redis.url });
  await migrate(stores.env);
  bed = createWorkerBed(stores);
});

/** Submits a task as soon as the bed's own connections work again. */
async function submitOne(task: Parameters<WorkerBed['submit']>[0][number]): Promise<string> {
  return untilTrue(async () => (await bed.submit([task]))[0]);
}

describe('a worker', () => {
  test('keeps outcomes while PostgreSQL is down, and writes them when it is back', async () => {
    const queue = 'keeps';
    const going = Promise.withResolvers<string>();
    const worker = await bed.startWorker({ env: { WORKER_QUEUES: queue }, actions: { wait: () => going.promise } });
    const id = await submitOne({ queue, action: 'wait' });
    await bed.untilStatus([id], ['PROCESSING']);

    await postgres.stop();
    going.resolve('kept');
    await untilTrue(() =>
      worker.lines.some(({ store, msg }) => store === 'postgresql' && msg === 'store does not answer'),
    );
    await postgres.restart();

    await untilTrue(async () => (await bed.tasks([id]))[0]?.status === 'COMPLETED');
    expect(await bed.attempts(id)).toMatchObject([{ attempt: 1, outcome: 'COMPLETED', result: '"kept"' }]);
    expect((await worker.process.metrics.staleSettles.get()).values[0]?.value).toBe(0);
    const next = await submitOne({ queue, action: 'wait' });
    await bed.untilStatus([next], ['COMPLETED']);
  });

  test('hands claimed tasks back when they cannot be started, and claims no more until PostgreSQL answers', async () => {
    const queue = 'no-start';
    await bed.startWorker({ env: { WORKER_QUEUES: queue }, actions: { run: () => 1 } });
    const warm = await submitOne({ queue, action: 'run' });
    await bed.untilStatus([warm], ['COMPLETED']);
    const id = await submitOne({ queue, action: 'run', runAtMs: Date.now() + 700 });

    await postgres.stop();
    // The task becomes due during the outage. The worker claims it, cannot start it, and gives it back.
    await untilTrue(async () => {
      const { ready, inflight } = await bed.queue.counts(queue);
      return ready === 1 && inflight === 0;
    });
    await postgres.restart();

    await untilTrue(async () => (await bed.tasks([id]))[0]?.status === 'COMPLETED');
    expect((await bed.tasks([id]))[0]).toMatchObject({ attempt: 1, failures: 0, lost: 0 });
  });

  test('gives up outcomes that it could not write in time, and asks for the end of the process', async () => {
    const queue = 'gives-up';
    const going = Promise.withResolvers<string>();
    const env = { WORKER_QUEUES: queue, SHUTDOWN_GRACE: '0s' };
    const worker = await bed.startWorker({ env, actions: { wait: () => going.promise }, settleGiveUpMs: 300 });
    const id = await submitOne({ queue, action: 'wait' });
    await bed.untilStatus([id], ['PROCESSING']);

    await postgres.stop();
    going.resolve('never written');
    await expect(worker.process.finished).rejects.toThrow('1 outcomes could not be written');
    await worker.stop();
    await postgres.restart();

    await untilTrue(async () => (await bed.tasks([id]))[0]?.status === 'PROCESSING');
  });

  test('continues after Redis was emptied and restarted', async () => {
    const queue = 'emptied';
    await bed.startWorker({ env: { WORKER_QUEUES: queue }, actions: { run: () => 1 } });
    const first = await submitOne({ queue, action: 'run' });
    await bed.untilStatus([first], ['COMPLETED']);

    await redis.kill();
    await redis.restart();

    // Retrying enqueues a task in any case. A submission that hit the outage is committed, but waits for reconcile.
    const second = await submitOne({ queue, action: 'run' });
    expect(await bed.untilStatus([second], ['COMPLETED'])).toMatchObject([{ attempt: 1, lost: 0 }]);
  });

  test('is up but not ready while both stores are down, and works as soon as they are up', async () => {
    const queue = 'standby';
    await Promise.all([postgres.stop(), redis.stop()]);
    const worker = startProcess(['node', 'src/main.ts', 'worker'], { ...stores.env, WORKER_QUEUES: queue });
    const { port } = await worker.waitForLine(({ msg }) => msg === 'metrics listening');
    const status = async (path: string): Promise<number> =>
      (await fetch(`http://127.0.0.1:${Number(port)}${path}`)).status;
    await worker.waitForLine(({ store, msg }) => store === 'postgresql' && msg === 'store does not answer');
    expect(await Promise.all([status('/healthz'), status('/readyz')])).toEqual([200, 503]);

    await Promise.all([postgres.restart(), redis.restart()]);

    await untilTrue(async () => (await status('/readyz')) === 200);
    const id = await submitOne({ queue, action: 'simulate' });
    await bed.untilStatus([id], ['COMPLETED']);
    worker.signal('SIGTERM');
    expect(await worker.waitForExit()).toEqual({ code: 0, signal: null });
  });

  test('refuses a database that may lose committed data', async () => {
    await bed.database.run({ name: 'unsafe', text: 'ALTER ROLE ALL SET synchronous_commit = off' }, []);
    try {
      const worker = startProcess(['node', 'src/main.ts', 'worker'], stores.env);
      expect(await worker.waitForExit()).toEqual({ code: 1, signal: null });
      expect(worker.output).toContain('unsafe_database');
    } finally {
      await bed.database.run({ name: 'safe', text: 'ALTER ROLE ALL RESET synchronous_commit' }, []);
    }
  });
});
