import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startRedis, type PrivateServer } from '../../../test/harness/private-stores.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createKeys, type Keys } from '../../redis/keys.ts';
import { createRedis, type RedisConnection } from '../../redis/redis.ts';
import { createWakeWaiter, type WakeWaiter } from './wake-waiter.ts';

const LONG_MS = 30_000;
const never = new AbortController().signal;

let server: PrivateServer;
let redis: RedisConnection;
let keys: Keys;
let files = 0;

beforeAll(async () => {
  server = await startRedis();
  const outage = { failed: () => {}, answered: () => {}, ongoing: false };
  redis = createRedis({ REDIS_URL: server.url, REDIS_CLUSTER: false }, outage, pino({ level: 'silent' }));
});

afterAll(() => redis.close());

async function newWaiter(queues: readonly string[], cluster: boolean, slackMs = 200): Promise<WakeWaiter> {
  keys = createKeys(`w${files++}`, '');
  const waiter = createWakeWaiter(redis, keys, queues, { cluster, slackMs });
  onTestFinished(() => waiter.close());
  return waiter;
}

const mark = (queue: string): Promise<unknown> => redis.call((client) => client.zadd(keys.queue(queue).wake, 0, '1'));
const marked = (queue: string): Promise<boolean> =>
  redis.call(async (client) => (await client.exists(keys.queue(queue).wake)) === 1);
const blockedClients = (): Promise<number> =>
  redis.call(async (client) => Number(/blocked_clients:(\d+)/.exec(await client.info('clients'))?.[1]));

/** `cluster` only means one connection for each queue here. The server is the same. */
describe.each([false, true])('waiting for work, a connection for each queue: %s', (cluster) => {
  test('ends with a marker of any queue, and removes that marker', async () => {
    const waiter = await newWaiter(['a', 'b'], cluster);
    for (const queue of ['a', 'b']) {
      const waited = waiter.wait(LONG_MS, never);
      await untilTrue(async () => (await blockedClients()) >= 1);
      await mark(queue);
      await waited;
      expect(await marked(queue)).toBe(false);
    }
  });

  test('ends after its time', async () => {
    const waiter = await newWaiter(['a', 'b'], cluster);
    const sinceMs = performance.now();
    await waiter.wait(80, never);
    expect(performance.now() - sinceMs).toBeGreaterThanOrEqual(75);
    await waiter.wait(0, never);
  });

  test('ends with the signal, and leaves the marker for another worker', async () => {
    const waiter = await newWaiter(['a', 'b'], cluster);
    const stopping = new AbortController();
    const waited = waiter.wait(LONG_MS, stopping.signal);
    await untilTrue(async () => (await blockedClients()) >= 1);
    stopping.abort();
    await waited;

    await mark('b');
    await waiter.close();
    await untilTrue(() => marked('b'));
    expect(await blockedClients()).toBe(0);
  });

  test('goes on after an outage of Redis', async () => {
    const waiter = await newWaiter(['a', 'b'], cluster);
    const waited = waiter.wait(300, never);
    await server.stop();
    await waited;
    await waiter.wait(50, never);
    await server.restart();
    await untilTrue(() => mark('a'));
    const sinceMs = performance.now();
    // A wait may end early because of a command that was still blocked from before the outage.
    while (await marked('a')) await waiter.wait(LONG_MS, never);
    expect(performance.now() - sinceMs).toBeLessThan(5_000);
  });

  test('replaces a connection that hangs', async () => {
    const waiter = await newWaiter(['a', 'b'], cluster);
    const waited = waiter.wait(200, never);
    await untilTrue(async () => (await blockedClients()) >= 1);
    server.pause();
    try {
      await waited;
      await waiter.wait(500, never);
    } finally {
      server.resume();
    }
    // A command that hung could still take the marker until the server has noticed its end.
    await untilTrue(async () => (await blockedClients()) === 0);
    await mark('b');
    const sinceMs = performance.now();
    await waiter.wait(LONG_MS, never);
    expect(performance.now() - sinceMs).toBeLessThan(5_000);
  });
});
