import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { freePort, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { newPassword, runRedis, runSentinel, withRedis } from '../../scripts/stores/redis.ts';
import { mountBoundedDisk, type BoundedDisk } from './bounded-disk.ts';
import { until } from './until.ts';

/** A single server, a master with a replica that Sentinel watches, or a Cluster of three masters. */
export type RedisKind = 'single' | 'sentinel' | 'cluster';

/** The Redis of a run, of any kind. */
export interface RedisUnderTest {
  readonly kind: RedisKind;
  readonly servers: readonly PrivateServer[];
  /** The disk of all servers; null if file systems cannot be mounted. */
  readonly disk: BoundedDisk | null;
  /** Returns the servers that accept writes at the moment. */
  masters(): Promise<readonly PrivateServer[]>;
  /** Returns the settings with which a process finds Redis. `open` returns the process's own link to a port. */
  environment(open: (port: number) => Promise<number>): Promise<Record<string, string>>;
  remove(): Promise<void>;
}

export interface RedisUnderTestOptions {
  readonly kind: RedisKind;
  readonly directory: string;
}

export async function startRedisUnderTest(options: RedisUnderTestOptions): Promise<RedisUnderTest> {
  const directory = join(options.directory, 'redis');
  mkdirSync(directory);
  const disk = mountBoundedDisk(directory);
  chmodSync(directory, 0o711);
  const start = { single: startSingle, sentinel: startSentinel, cluster: startCluster }[options.kind];
  const redis = await start({ ...options, directory });
  return {
    ...redis,
    disk,
    async remove() {
      await redis.remove();
      disk?.remove();
    },
  };
}

/** Calls `body` with every master. */
export async function onMasters<Result>(
  redis: RedisUnderTest,
  body: (client: Redis, server: PrivateServer) => Promise<Result>,
): Promise<Result[]> {
  const masters = await redis.masters();
  return Promise.all(masters.map((server) => withRedis(server.url, (client) => body(client, server))));
}

type Servers = Omit<RedisUnderTest, 'disk'>;

const GROUP = 'chaos';
const SENTINELS = 3;
/** Time until Sentinel considers a master down. It is short, so that a run has time for several failovers. */
const DOWN_AFTER_MS = 2_000;
const CLUSTER_MASTERS = 3;
const SLOTS = 16_384;

async function startSingle({ directory }: RedisUnderTestOptions): Promise<Servers> {
  const server = await runRedis({ directory: join(directory, 'redis') });
  return {
    kind: 'single',
    servers: [server],
    masters: async () => [server],
    environment: async (open) => ({ REDIS_URL: withPort(server.url, await open(server.port)) }),
    remove: () => removeAll([server]),
  };
}

async function startCluster({ directory }: RedisUnderTestOptions): Promise<Servers> {
  const password = newPassword();
  const busPorts = await Promise.all(Array.from({ length: CLUSTER_MASTERS }, () => freePort()));
  const servers = await Promise.all(
    busPorts.map((busPort, i) =>
      runRedis({
        directory: join(directory, `redis-${i + 1}`),
        password,
        settings: {
          'cluster-enabled': 'yes',
          'cluster-port': String(busPort),
          'cluster-announce-ip': '127.0.0.1',
          'cluster-node-timeout': '2000',
          // The queues of the other masters continue to work while one is down.
          'cluster-require-full-coverage': 'no',
        },
      }),
    ),
  );
  const [first] = servers as [PrivateServer];
  for (const [i, server] of servers.entries()) {
    const fromSlot = Math.floor((SLOTS * i) / CLUSTER_MASTERS);
    const toSlot = Math.floor((SLOTS * (i + 1)) / CLUSTER_MASTERS) - 1;
    await withRedis(server.url, async (client) => {
      await client.call('CLUSTER', 'ADDSLOTSRANGE', fromSlot, toSlot);
      if (server !== first) await client.call('CLUSTER', 'MEET', '127.0.0.1', first.port, busPorts[0] as number);
    });
  }
  for (const server of servers) {
    await until('the Cluster is whole', () =>
      withRedis(server.url, async (client) => {
        const info = String(await client.call('CLUSTER', 'INFO'));
        return info.includes('cluster_state:ok') && info.includes(`cluster_slots_ok:${SLOTS}`);
      }),
    );
  }
  return {
    kind: 'cluster',
    servers,
    masters: async () => servers,
    async environment(open) {
      const ports = await Promise.all(servers.map(({ port }) => open(port)));
      return { REDIS_URL: withPort(first.url, ports[0] as number), REDIS_CLUSTER: 'true' };
    },
    remove: () => removeAll(servers),
  };
}

async function startSentinel({ directory }: RedisUnderTestOptions): Promise<Servers> {
  const password = newPassword();
  const start = (name: string, settings: Record<string, string>): Promise<PrivateServer> =>
    runRedis({
      directory: join(directory, name),
      password,
      settings: { masterauth: password, ...settings },
    });
  const master = await start('redis-1', {});
  const replica = await start('redis-2', { replicaof: `127.0.0.1 ${master.port}` });
  const servers = [master, replica];
  await until('the replica follows', () =>
    withRedis(master.url, async (client) => (await client.info('replication')).includes('state=online')),
  );
  const sentinels = await Promise.all(
    Array.from({ length: SENTINELS }, (_, i) =>
      runSentinel({
        directory: join(directory, `sentinel-${i + 1}`),
        master: { port: master.port, password },
        group: GROUP,
        quorum: 2,
        downAfterMs: DOWN_AFTER_MS,
        password,
      }),
    ),
  );
  const [first] = sentinels as [PrivateServer];
  await until('the Sentinels know each other', () =>
    withRedis(first.url, async (client) => {
      const text = JSON.stringify(await client.call('SENTINEL', 'MASTER', GROUP));
      return text.includes('"num-slaves","1"') && text.includes(`"num-other-sentinels","${SENTINELS - 1}"`);
    }),
  );
  return {
    kind: 'sentinel',
    servers,
    async masters() {
      const named = await withRedis(first.url, (client) => client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', GROUP));
      const port = Number((named as string[])[1]);
      return servers.filter((server) => server.port === port);
    },
    async environment(open) {
      for (const { port } of servers) await open(port);
      const ports = await Promise.all(sentinels.map(({ port }) => open(port)));
      return {
        REDIS_URL: master.url,
        REDIS_SENTINELS: ports.map((port) => `127.0.0.1:${port}`).join(),
        REDIS_SENTINEL_MASTER: GROUP,
        REDIS_SENTINEL_PASSWORD: password,
      };
    },
    remove: () => removeAll([...sentinels, ...servers]),
  };
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

async function removeAll(servers: readonly PrivateServer[]): Promise<void> {
  await Promise.all(servers.map((server) => server.remove()));
}
