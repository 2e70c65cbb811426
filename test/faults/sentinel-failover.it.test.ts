import { describe, expect, it } from 'vitest';
import type { PrivateServer } from '../../scripts/stores/private-server.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createServerMark } from '../../src/redis/server-mark.ts';
import { untilTrue } from '../harness/processes.ts';
import { startSentinelSystem } from '../harness/sentinel.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem, type TestSystem } from '../harness/system.ts';

const work = (tasks: number) => Array.from({ length: tasks }, () => ({ payload: null, execution_time: 0.05 }));

async function untilCompleted(system: TestSystem, share: number): Promise<void> {
  await untilTrue(
    async () => {
      const [row] = await system.rows<{ count: string }>(`SELECT count(*) FROM tasks WHERE status = 'COMPLETED'`);
      return Number(row?.count) >= share;
    },
    { timeoutMs: 60_000 },
  );
}

describe('a failover by Redis Sentinel', () => {
  it('under load, after a crash or planned, loses no task, presumes no worker dead and rebuilds the queue', async () => {
    const redis = await startSentinelSystem();
    const stores = await createTestStores({ redisUrl: redis.servers[0].url });
    const system = await startSystem(stores, redis.env);
    await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer()]);
    const [first, second] = redis.servers;
    const { epoch, inflight, ready, delayed } = createKeys(stores.redisPrefix, '').queue('default');
    const isWholeOn = (server: PrivateServer): Promise<boolean> =>
      withRedis(server.url, async (client) => {
        const [, state, nonce = ''] = (await client.get(epoch))?.split(' ') ?? [];
        return state === 'whole' && createServerMark({ call: (command) => command(client) }).stands(epoch, nonce);
      });

    await system.submitBatch(work(600));
    await untilCompleted(system, 200);
    await first.kill();
    // Submissions succeed without Redis, because PostgreSQL holds the record.
    await system.submitBatch(work(50));
    await redis.untilMaster(second);
    await untilTrue(() => isWholeOn(second));

    await first.restart();
    // The restarted server is a master at first, until the Sentinel makes it a replica.
    await redis.untilMaster(second);
    await system.submitBatch(work(250));
    await untilCompleted(system, 700);
    await redis.failOver();
    await redis.untilMaster(first);
    await untilTrue(() => isWholeOn(first));
    await system.submitBatch(work(100));

    expect(await system.untilAllEnded(90_000)).toEqual({ COMPLETED: 1_000 });
    const [row] = await system.rows(`
      SELECT count(*) FILTER (WHERE outcome = 'COMPLETED')::int AS completed,
             count(*) FILTER (WHERE outcome = 'LOST')::int AS lost
      FROM execution_logs`);
    expect(row).toEqual({ completed: 1_000, lost: 0 });
    await untilTrue(() =>
      withRedis(first.url, async (client) => (await client.exists(inflight, ready, delayed)) === 0),
    );
  }, 180_000);
});
