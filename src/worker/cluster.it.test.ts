import { expect, test } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { clusterSettings, startRedis } from '../../test/harness/private-stores.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createWorkerBed } from '../../test/worker-bed.ts';

/** Starts a Cluster of one node. One is enough, because it refuses every command with keys in different slots. */
async function startCluster(): Promise<string> {
  const server = await startRedis({ settings: await clusterSettings() });
  await withRedis(server.url, async (client) => {
    await client.cluster('ADDSLOTSRANGE', 0, 16_383);
    await untilTrue(async () => String(await client.cluster('INFO')).includes('cluster_state:ok'));
  });
  return server.url;
}

test('a worker waits for, claims and settles tasks in several queues of a Redis Cluster', async () => {
  const stores = await createTestStores({ redisUrl: await startCluster() });
  const env = { ...stores.env, REDIS_CLUSTER: 'true' };
  const bed = createWorkerBed({ ...stores, env });
  const queues = ['a', 'b', 'c'];
  const worker = await bed.startWorker({ env: { ...env, WORKER_QUEUES: queues.join() }, actions: { run: () => 1 } });

  for (const round of [1, 2, 3]) {
    const ids = await untilTrue(() => bed.submit(queues.map((queue) => ({ queue, action: 'run' }))));
    // 4 s is less than a lost wake-up would cost, so the waiting worker was woken in every queue.
    await bed.untilStatus(ids, ['COMPLETED'], 4_000);
    expect(
      (await bed.tasks(ids)).map(({ attempt }) => attempt),
      `round ${round}`,
    ).toEqual([1, 1, 1]);
  }
  const { workerId } = worker.process;
  await untilTrue(async () => (await bed.redis.call((client) => client.exists(bed.keys.heartbeat(workerId)))) === 1);
  await worker.stop();
});
