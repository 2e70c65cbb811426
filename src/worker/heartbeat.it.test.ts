import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { startLossyProxy, type LossyProxy } from '../../test/harness/lossy-proxy.ts';
import { clusterSettings, startRedis, type PrivateServer } from '../../test/harness/private-stores.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { readConfig } from '../config/read-config.ts';
import { createKeys } from '../redis/keys.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createHeartbeat } from './heartbeat.ts';
import { createPulse } from './pulse.ts';

let server: PrivateServer;
let proxy: LossyProxy;
let env: Record<string, string>;

async function startServer(): Promise<void> {
  server = await startRedis();
  proxy = await startLossyProxy(server.url);
  env = {};
}

/** Starts a Cluster of one node, which announces the proxy's port to its clients. */
async function startCluster(): Promise<void> {
  server = await startRedis({ settings: await clusterSettings() });
  proxy = await startLossyProxy(server.url);
  await withRedis(server.url, async (redis) => {
    await redis.config('SET', 'cluster-announce-port', new URL(proxy.url).port);
    await redis.cluster('ADDSLOTSRANGE', 0, 16_383);
  });
  await untilWhole();
  env = { REDIS_CLUSTER: 'true' };
}

/** Waits until the server accepts commands. A Cluster node accepts none in the first two seconds after its start. */
const untilWhole = (): Promise<unknown> =>
  untilTrue(() =>
    withRedis(server.url, async (redis) => {
      const isCluster = (await redis.info('cluster')).includes('cluster_enabled:1');
      return !isCluster || String(await redis.cluster('INFO')).includes('cluster_state:ok');
    }),
  );

/** Starts a heartbeat that beats through the proxy until the end of the test. */
async function startBeating(workerId: string): Promise<void> {
  const config = readConfig({
    DATABASE_URL: 'postgresql://nobody@127.0.0.1/none',
    REDIS_URL: proxy.url,
    HEARTBEAT_INTERVAL: '300ms',
    ...env,
  });
  const heartbeat = createHeartbeat({
    config,
    workerId,
    queues: ['default'],
    actions: ['simulate'],
    slots: 1,
    pulse: createPulse(),
    onTick: () => {},
    log: createLogger('silent', {}),
  });
  onTestFinished(() => heartbeat.stop());
  await heartbeat.start();
  await untilTrue(() => lastBeatMs(workerId));
}

/** Reads the last beat directly from the server, without the proxy; null while the server is down. */
const lastBeatMs = (workerId: string): Promise<number | null> =>
  withRedis(server.url, async (redis) => {
    const score = await redis.zscore(createKeys('scheduler', '').workers, workerId);
    return score === null ? null : Number(score);
  }).catch(() => null);

const firstBeatAfter = (workerId: string, atMs: number, timeoutMs: number): Promise<number> =>
  untilTrue(
    async () => {
      const beatMs = await lastBeatMs(workerId);
      return beatMs !== null && beatMs > atMs && beatMs;
    },
    { timeoutMs, describe: () => lastBeatMs(workerId).then((beatMs) => ({ beatMs, atMs })) },
  );

describe.each([
  ['one server', startServer],
  ['a Cluster', startCluster],
])('the heartbeat, with %s', (_, start) => {
  beforeAll(start);

  it('replaces a connection that does not answer, and beats on a new one', async () => {
    await startBeating('hung');
    proxy.hangConnections();
    const hungMs = Date.now();
    // A beat that was under way may still have arrived.
    expect((await firstBeatAfter('hung', hungMs + 100, 5_000)) - hungMs).toBeLessThan(3_000);
  });

  it('recovers soon from a server that accepts connections but does not answer', async () => {
    await startBeating('mute');
    proxy.hangNewConnections();
    proxy.hangConnections();
    const stoppedMs = await untilStandstill('mute');
    proxy.behave();
    const behavedMs = Date.now();
    expect((await firstBeatAfter('mute', stoppedMs, 5_000)) - behavedMs).toBeLessThan(2_000);
  });

  it('is back soon after Redis, even after a long outage: the gap leaves it three seconds', async () => {
    await startBeating('restarted');
    // Save the registry, so that it survives the restart. A worker that is late then counts as dead.
    await withRedis(server.url, (redis) => redis.save());
    await server.kill();
    await delay(5_000);
    await server.restart();
    await untilWhole();
    const backMs = Date.now();
    expect((await firstBeatAfter('restarted', backMs - 4_000, 5_000)) - backMs).toBeLessThan(2_000);
  });
});

/** Waits until there has been no beat for 1.5 s. @returns the last beat */
const untilStandstill = (workerId: string): Promise<number> =>
  untilTrue(
    async () => {
      const beatMs = await lastBeatMs(workerId);
      return beatMs !== null && Date.now() - beatMs > 1_500 && beatMs;
    },
    { timeoutMs: 10_000 },
  );
