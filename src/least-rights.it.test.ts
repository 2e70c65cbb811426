import { describe, expect, it } from 'vitest';
import { withRedis } from '../scripts/stores/redis.ts';
import { startRedis, type PrivateServer } from '../test/harness/private-stores.ts';
import { untilTrue } from '../test/harness/processes.ts';
import { createRedisUser, documentedRules, type RedisUser } from '../test/harness/redis-user.ts';
import { createTestStores, type TestStores } from '../test/harness/stores.ts';
import { SHORT_HEARTBEATS, startSystem } from '../test/harness/system.ts';
import { createKeys } from './redis/keys.ts';

/** With the default settings, the tasks of a dead worker can be claimed again after at most 15 s. */
const RECOVERY_BOUND_MS = 15_000;

type UserStores = TestStores & { readonly user: RedisUser };

async function storesAs(server: PrivateServer, choose: (stores: TestStores) => string): Promise<UserStores> {
  const stores = await createTestStores({ redisUrl: server.url });
  const user = await createRedisUser(server, choose(stores));
  return { ...stores, user, env: { ...stores.env, REDIS_URL: user.url } };
}

/** Returns the commands that the server has refused, according to its own statistics. */
async function refusedCalls(server: PrivateServer): Promise<string[]> {
  const text = await withRedis(server.url, (redis) => redis.info('commandstats'));
  return [...text.matchAll(/^cmdstat_([^:]+):.*rejected_calls=([1-9]\d*)/gm)].map(([, name = '']) => name);
}

describe.each([
  ['all but @dangerous', {}, ({ redisPrefix }: TestStores) => documentedRules(redisPrefix).dangerous],
  ['the least rights', {}, ({ redisPrefix }: TestStores) => documentedRules(redisPrefix).least],
  [
    'the least rights, on a server whose INFO was renamed',
    { 'rename-command': 'INFO ""' },
    ({ redisPrefix }: TestStores) => documentedRules(redisPrefix).least,
  ],
])('with %s', (_name, settings: Record<string, string>, choose) => {
  it('everything works: after a loss of Redis and a killed worker all tasks come back in time', async () => {
    const server = await startRedis({ settings });
    const stores = await storesAs(server, choose);
    const system = await startSystem(stores, { ...SHORT_HEARTBEATS, WORKER_SLOTS: '8' });
    const [doomed, survivor] = await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer()]);

    await system.submitBatch(Array.from({ length: 16 }, () => ({ payload: null, execution_time: 4 })));
    await untilTrue(async () => (await system.rows('SELECT FROM tasks WHERE attempt = 0')).length === 0);
    await withRedis(server.url, (redis) => redis.flushall());
    doomed.signal('SIGKILL');
    const diedMs = performance.now();
    expect(await system.untilAllEnded(30_000)).toEqual({ COMPLETED: 16 });
    expect(performance.now() - diedMs).toBeLessThan(RECOVERY_BOUND_MS);
    expect((await system.rows('SELECT FROM tasks WHERE lost > 0')).length).toBeGreaterThan(0);

    // A cancel reaches the worker through the channel.
    const id = await system.submit({ payload: null, execution_time: 60 });
    await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'PROCESSING');
    expect((await system.post(`/tasks/${id}/cancel`, undefined)).status).toBe(202);
    await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'CANCELLED');

    expect(await system.get('/readyz')).toEqual({ status: 'ready', problems: [] });
    for (const { lines } of [system.api, survivor]) {
      expect(lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
    }
    // Only the API uses INFO, for a warning that is not essential.
    if (settings['rename-command'] === undefined) expect(await refusedCalls(server)).toEqual(['info']);
  }, 90_000);
});

it('a pass notices a server that came back with an old snapshot, without INFO', async () => {
  const server = await startRedis();
  const stores = await storesAs(server, ({ redisPrefix }) => documentedRules(redisPrefix).least);
  const system = await startSystem(stores, SHORT_HEARTBEATS);
  const reclaimer = await system.startReclaimer();
  // The holder of the lease logs it: the reclaimer, or the API that stands in for it.
  const rebuilds = (): number =>
    [...system.api.lines, ...reclaimer.lines].filter(({ msg }) => msg === 'queues in Redis are whole').length;
  await untilTrue(() => rebuilds() > 0);
  await withRedis(server.url, (redis) => redis.save());
  const before = rebuilds();
  const ids = await system.submitBatch(Array.from({ length: 3 }, () => ({ payload: null })));
  await server.kill();
  await server.restart();
  await stores.user.restore();
  await untilTrue(() => rebuilds() > before);
  const { ready } = createKeys(stores.redisPrefix, '').queue('default');
  await expect.poll(() => withRedis(server.url, (redis) => redis.zcard(ready)), { timeout: 20_000 }).toBe(ids.length);
}, 60_000);
