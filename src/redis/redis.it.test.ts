import { beforeAll, describe, expect, it } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { startLossyProxy } from '../../test/harness/lossy-proxy.ts';
import { openParts, positionOfTask, type TestParts } from '../../test/harness/parts.ts';
import { startRedis, type PrivateServer } from '../../test/harness/private-stores.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { REDIS_BREAKER_FAILURES, REDIS_COMMAND_TIMEOUT_MS, REDIS_SILENT_SOCKET_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createWorkerRegistry } from '../engine/presence/worker-registry.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createRedis } from './redis.ts';

let server: PrivateServer;
let parts: TestParts;

beforeAll(async () => {
  server = await startRedis();
  parts = await openParts((await createTestStores({ redisUrl: server.url })).env);
});

const runnable = () => ({ position: positionOfTask(parts.newTask()), waitMs: 0 });
const BEATS = { HEARTBEAT_TTL: 10_000, HEARTBEAT_GAP: 4_000 };
const description = {
  id: 'w',
  host: 'h',
  pid: 1,
  queues: ['default'],
  slots: 1,
  busy: 0,
  startedAt: '',
  draining: false,
};

describe('createRedis', () => {
  it('sends a script again if the server has forgotten it', async () => {
    await parts.queue.enqueue('default', [runnable()]);
    await withRedis(server.url, (redis) => redis.script('FLUSH'));
    expect(await parts.queue.enqueue('default', [runnable()])).toBe(1);
  });

  it('still reports an outage after untilReady() has timed out', async () => {
    const outage = createOutage('redis', parts.log, createMetrics(), Date.now);
    const redis = createRedis({ REDIS_URL: 'redis://127.0.0.1:1', REDIS_CLUSTER: false }, outage, parts.log);
    await redis.untilReady(50);
    expect(outage.ongoing).toBe(true);
    await redis.close();
  });

  it('fails fast while Redis hangs, and recovers by itself', async () => {
    server.pause();
    try {
      for (let i = 0; i < REDIS_BREAKER_FAILURES; i++) {
        await expect(parts.queue.enqueue('default', [runnable()])).rejects.toBeInstanceOf(StoreUnavailableError);
      }
      const before = performance.now();
      for (let i = 0; i < 50; i++) {
        await expect(parts.queue.enqueue('default', [runnable()])).rejects.toBeInstanceOf(StoreUnavailableError);
      }
      expect(performance.now() - before).toBeLessThan(REDIS_COMMAND_TIMEOUT_MS);
    } finally {
      server.resume();
    }
    await expect.poll(() => parts.queue.enqueue('default', [runnable()]), { timeout: 10_000 }).toBe(1);
  });

  it('replaces a half-open connection', async () => {
    const proxy = await startLossyProxy(server.url);
    const outage = createOutage('redis', parts.log, createMetrics(), Date.now);
    const redis = createRedis({ REDIS_URL: proxy.url, REDIS_CLUSTER: false }, outage, parts.log);
    await redis.untilReady(5_000);
    expect(await redis.call((client) => client.ping())).toBe('PONG');
    proxy.hangConnections();
    await expect(redis.call((client) => client.ping())).rejects.toBeInstanceOf(StoreUnavailableError);
    const answer = () => redis.call((client) => client.ping()).catch(() => null);
    await expect.poll(answer, { timeout: 3 * REDIS_SILENT_SOCKET_MS }).toBe('PONG');
    await redis.close();
  });

  it('at the memory limit refuses new entries, but still beats, claims, settles and releases', async () => {
    const registry = createWorkerRegistry(parts.redis, parts.keys);
    await parts.queue.setSettings('full', { version: 1, paused: false });
    const tasks = [runnable(), runnable()];
    await parts.queue.enqueue('full', tasks);
    await withRedis(server.url, (redis) => redis.config('SET', 'maxmemory', '1'));
    try {
      await expect(parts.queue.enqueue('full', [runnable()])).rejects.toBeInstanceOf(StoreUnavailableError);
      await registry.beat(description, BEATS);
      expect((await parts.queue.claim('full', 'w', 2)).members).toHaveLength(2);
      await parts.queue.settle(
        'full',
        'w',
        tasks.slice(0, 1).map(({ position }) => ({ position, verb: 'complete', waitMs: 0 })),
      );
      await parts.queue.release('full', 'w', tasks.slice(1));
      expect(await parts.queue.counts('full')).toMatchObject({ ready: 1, inflight: 0 });
    } finally {
      await withRedis(server.url, (redis) => redis.config('SET', 'maxmemory', '0'));
    }
  });
});

describe('createWorkerRegistry', () => {
  it('lists workers with their descriptions, and forgets a worker that leaves', async () => {
    const registry = createWorkerRegistry(parts.redis, parts.keys);
    await registry.beat(description, BEATS);
    await registry.beat({ ...description, id: 'v' }, BEATS);
    await registry.leave('v');
    expect(await registry.list()).toEqual([
      { id: 'w', lastBeatMs: expect.any(Number), alive: true, description, end: null },
    ]);
  });

  it('records the end of a gap only if no worker has beaten for longer than the gap time', async () => {
    const registry = createWorkerRegistry(parts.redis, parts.keys);
    const { workers } = parts.keys;
    const gapEnd = () => parts.redis.call((client) => client.zscore(workers, '@gap'));
    const shiftLastBeat = (ms: number) => parts.redis.call((client) => client.zincrby(workers, ms, '@last'));
    await registry.beat(description, BEATS);
    const before = await gapEnd();
    await registry.beat(description, BEATS);
    expect(await gapEnd()).toBe(before);

    await shiftLastBeat(-4_500);
    await registry.beat({ ...description, id: 'x' }, BEATS);
    const afterGap = Number(await gapEnd());
    expect(afterGap).toBeGreaterThan(Number(before));

    // Simulate a server clock that went back by an hour.
    await shiftLastBeat(3_600_000);
    await registry.beat(description, BEATS);
    expect(Number(await gapEnd())).toBeGreaterThanOrEqual(afterGap);
    expect(Number(await gapEnd())).toBe(Number(await parts.redis.call((client) => client.zscore(workers, '@last'))));
  });
});
