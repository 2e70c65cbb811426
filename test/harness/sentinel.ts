import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findRedis } from '../../scripts/stores/binaries.ts';
import { runPrivateServer, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { giveTo, unprivilegedAccount } from '../../scripts/stores/unprivileged.ts';
import { atEndOfFile } from './end-of-file.ts';
import { newStoresDirectory } from './memory-directory.ts';
import { startRedis } from './private-stores.ts';
import { untilTrue } from './processes.ts';

/** A master and its replica under the eyes of a Sentinel, which alone decides on a failover. */
export interface SentinelSystem {
  readonly servers: readonly [PrivateServer, PrivateServer];
  /** Settings by which the scheduler finds the master. */
  readonly env: Record<string, string>;
  /** The server that the Sentinel names at the moment. */
  master(): Promise<PrivateServer>;
  /** Asks for a failover although nothing is wrong. */
  failOver(): Promise<void>;
  /** Waits until this server is the master, and the other its replica where it runs. */
  untilMaster(server: PrivateServer): Promise<void>;
}

const NAME = 'main';
const DOWN_AFTER_MS = 1_000;

export async function startSentinelSystem(): Promise<SentinelSystem> {
  const password = randomBytes(12).toString('hex');
  const settings = { masterauth: password, 'repl-diskless-sync-delay': '0' };
  const first = await startRedis({ password, settings });
  const second = await startRedis({ password, settings: { ...settings, replicaof: `127.0.0.1 ${first.port}` } });
  const servers = [first, second] as const;
  await untilTrue(async () => (await roleOf(second)) === 'slave connected');
  const sentinel = await startSentinel(first.port, password);
  const ask = <Reply>(...words: string[]): Promise<Reply> =>
    withRedis(sentinel.url, (redis) => redis.call('SENTINEL', ...words) as Promise<Reply>);
  const knowsReplica = async (): Promise<boolean> => (await ask<unknown[]>('REPLICAS', NAME)).length === 1;
  await untilTrue(knowsReplica);

  const master = async (): Promise<PrivateServer> => {
    const [, port] = await ask<[string, string]>('GET-MASTER-ADDR-BY-NAME', NAME);
    return servers.find((server) => server.port === Number(port)) as PrivateServer;
  };
  const url = new URL(sentinel.url);
  return {
    servers,
    env: {
      REDIS_URL: `redis://:${password}@${NAME}/0`,
      // The first one is away, as one of three may be.
      REDIS_SENTINELS: `127.0.0.1:1,127.0.0.1:${sentinel.port}`,
      REDIS_SENTINEL_MASTER: NAME,
      REDIS_SENTINEL_PASSWORD: url.password,
    },
    master,
    async failOver() {
      await untilTrue(() => ask('FAILOVER', NAME));
    },
    untilMaster: async (server) => {
      const other = servers[0] === server ? servers[1] : servers[0];
      await untilTrue(
        async () => {
          const otherRole = await roleOf(other).catch(() => null);
          const follows = otherRole === null || otherRole === 'slave connected';
          return follows && (await roleOf(server)) === 'master' && (await master()) === server;
        },
        { timeoutMs: 30_000 },
      );
    },
  };
}

/** `master`, or `slave` with the state of its link. */
async function roleOf({ url }: PrivateServer): Promise<string> {
  const [role, , , state] = (await withRedis(url, (redis) => redis.role())) as [string, unknown, unknown, string?];
  return role === 'master' ? role : `${role} ${state}`;
}

async function startSentinel(masterPort: number, masterPassword: string): Promise<PrivateServer> {
  const directory = newStoresDirectory('sentinel');
  const dataDirectory = join(directory, 'data');
  // It writes what it learns into its configuration.
  const configuration = join(dataDirectory, 'sentinel.conf');
  const account = unprivilegedAccount();
  const password = randomBytes(12).toString('hex');
  mkdirSync(dataDirectory);
  const lines = [
    'bind 127.0.0.1',
    `dir ${dataDirectory}`,
    `requirepass ${password}`,
    `sentinel monitor ${NAME} 127.0.0.1 ${masterPort} 1`,
    `sentinel auth-pass ${NAME} ${masterPassword}`,
    `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
    // Also the pause between two failovers, halved.
    `sentinel failover-timeout ${NAME} 5000`,
  ];
  writeFileSync(configuration, `${lines.join('\n')}\n`, { mode: 0o600 });
  for (const path of [directory, dataDirectory, configuration]) giveTo(path, account);
  chmodSync(directory, 0o700);
  const server = await runPrivateServer({
    name: 'Redis Sentinel',
    directory,
    dataDirectory,
    logFile: join(directory, 'server.log'),
    stopSignal: 'SIGTERM',
    port: 0,
    account,
    command: (port) => [findRedis() as string, configuration, '--sentinel', '--port', String(port)],
    url: (port) => `redis://:${password}@127.0.0.1:${port}`,
    probe: (url) => withRedis(url, (redis) => redis.ping()),
  });
  atEndOfFile(() => server.remove());
  return server;
}
