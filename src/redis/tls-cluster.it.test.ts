import { expect, it } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { clusterSettings } from '../../test/harness/private-stores.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { startTlsRedis } from '../../test/harness/tls-stores.ts';
import { readConfig } from '../config/read-config.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createRedis } from './redis.ts';

it('connects to a Redis Cluster over TLS by the host names in its certificates', async () => {
  const cluster = await startTlsRedis({
    settings: {
      ...(await clusterSettings()),
      'tls-cluster': 'yes',
      'cluster-announce-hostname': 'localhost',
      'cluster-preferred-endpoint-type': 'hostname',
    },
    byName: true,
  });
  await withRedis(cluster.server.url, async (client) => {
    await client.cluster('ADDSLOTSRANGE', 0, 16_383);
    await untilTrue(async () => String(await client.cluster('INFO')).includes('cluster_state:ok'));
  });
  const config = readConfig({
    DATABASE_URL: 'postgresql://127.0.0.1:1/x',
    REDIS_URL: `rediss://:${new URL(cluster.server.url).password}@localhost:${cluster.port}/0`,
    REDIS_CLUSTER: 'true',
    REDIS_CA_FILE: cluster.caFile,
  });
  const log = createLogger('silent', {});
  const redis = createRedis(config, createOutage('redis', log, createMetrics(), Date.now), log);
  atEndOfFile(() => redis.close());
  await redis.untilReady(5_000);
  expect(await redis.call((client) => client.set('a', 1))).toBe('OK');
  const blocking = redis.openBlocking();
  atEndOfFile(async () => blocking.disconnect());
  expect(await blocking.get('a')).toBe('1');
});
