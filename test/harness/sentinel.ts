import { randomBytes } from 'node:crypto';
import type { PrivateServer } from '../../scripts/stores/private-server.ts';
import { runSentinel, withRedis } from '../../scripts/stores/redis.ts';
import { atEndOfFile } from './end-of-file.ts';
import { newStoresDirectory } from './memory-directory.ts';
import { startRedis } from './private-stores.ts';
import { untilTrue } from './processes.ts';

/** A master and its replica, watched by a Sentinel that decides on a failover alone. */
export interface SentinelSystem {
  readonly servers: readonly [PrivateServer, PrivateServer];
  /** Settings with which the scheduler finds the master. */
  readonly env: Record<string, string>;
  /** Returns the current master, according to the Sentinel. */
  master(): Promise<PrivateServer>;
  /** Requests a failover although the master is healthy. */
  failOver(): Promise<void>;
  /** Waits until this server is the master, and the other one, if it runs, is its replica. */
  untilMaster(server: PrivateServer): Promise<void>;
}

export const SENTINEL_MASTER = 'main';
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
  const knowsReplica = async (): Promise<boolean> => (await ask<unknown[]>('REPLICAS', SENTINEL_MASTER)).length === 1;
  await untilTrue(knowsReplica);

  const master = async (): Promise<PrivateServer> => {
    const [, port] = await ask<[string, string]>('GET-MASTER-ADDR-BY-NAME', SENTINEL_MASTER);
    return servers.find((server) => server.port === Number(port)) as PrivateServer;
  };
  const url = new URL(sentinel.url);
  return {
    servers,
    env: {
      REDIS_URL: `redis://:${password}@${SENTINEL_MASTER}/0`,
      // Nothing listens at the first address, as when one of three Sentinels is down.
      REDIS_SENTINELS: `127.0.0.1:1,127.0.0.1:${sentinel.port}`,
      REDIS_SENTINEL_MASTER: SENTINEL_MASTER,
      REDIS_SENTINEL_PASSWORD: url.password,
    },
    master,
    async failOver() {
      await untilTrue(() => ask('FAILOVER', SENTINEL_MASTER));
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

/** Returns `master`, or `slave` with the state of its link. */
async function roleOf({ url }: PrivateServer): Promise<string> {
  const [role, , , state] = (await withRedis(url, (redis) => redis.role())) as [string, unknown, unknown, string?];
  return role === 'master' ? role : `${role} ${state}`;
}

/** Starts a Sentinel that watches the server on a port under the name `SENTINEL_MASTER`. */
export async function startSentinel(
  masterPort: number,
  password: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<PrivateServer> {
  const server = await runSentinel({
    directory: newStoresDirectory('sentinel'),
    master: { port: masterPort, password },
    group: SENTINEL_MASTER,
    quorum: 1,
    downAfterMs: DOWN_AFTER_MS,
    settings,
  });
  atEndOfFile(() => server.remove());
  return server;
}
