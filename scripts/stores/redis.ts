import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedis } from './binaries.ts';
import { runPrivateServer, type PrivateServer } from './private-server.ts';
import { giveTo, unprivilegedAccount } from './unprivileged.ts';

export interface RedisOptions {
  /** Holds data, configuration and log; made if it does not exist. */
  readonly directory: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** Settings beside ours: no persistence, `noeviction`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A random one unless given; replicas, and the masters of a Cluster, share one. */
  readonly password?: string;
  readonly logFile?: string;
}

const PROBE_TIMEOUT_MS = 1_000;

/** Starts a Redis of our own on loopback. Without persistence, `stop()` and `kill()` lose what it held. */
export async function runRedis(options: RedisOptions): Promise<PrivateServer> {
  const binary = findRedis();
  if (binary === null) throw new Error('no Redis 7 or newer is installed: `redis-server` is not on PATH');
  const account = unprivilegedAccount();
  const { password = newPassword() } = options;
  const dataDirectory = join(options.directory, 'data');
  const configuration = join(options.directory, 'redis.conf');
  mkdirSync(dataDirectory, { recursive: true });

  const settings = {
    bind: '127.0.0.1',
    save: '""',
    appendonly: 'no',
    'maxmemory-policy': 'noeviction',
    ...options.settings,
  };
  const lines = Object.entries({ ...settings, dir: dataDirectory, requirepass: password }).map(
    ([name, value]) => `${name} ${value}\n`,
  );
  // In a file and not on the command line, which every user of the machine can read.
  writeFileSync(configuration, lines.join(''), { mode: 0o600 });
  for (const path of [options.directory, dataDirectory, configuration]) giveTo(path, account);
  chmodSync(options.directory, 0o700);

  return runPrivateServer({
    name: 'Redis',
    directory: options.directory,
    dataDirectory,
    logFile: options.logFile ?? join(options.directory, 'server.log'),
    stopSignal: 'SIGTERM',
    port: options.port ?? 0,
    account,
    command: (port) => [binary, configuration, '--port', String(port)],
    url: (port) => `redis://:${password}@127.0.0.1:${port}/0`,
    probe: (url) => withRedis(url, (redis) => redis.ping()),
  });
}

export interface SentinelOptions {
  readonly directory: string;
  /** The master that it watches under the name `group`. */
  readonly master: { readonly port: number; readonly password: string };
  readonly group: string;
  readonly quorum: number;
  /** How long the master must be silent to be down. */
  readonly downAfterMs: number;
  /** A random one unless given; Sentinels of one group share it. */
  readonly password?: string;
  /** Further settings. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Starts a Sentinel of our own on loopback. */
export async function runSentinel(options: SentinelOptions): Promise<PrivateServer> {
  const binary = findRedis();
  if (binary === null) throw new Error('no Redis 7 or newer is installed: `redis-server` is not on PATH');
  const { directory, master, group, quorum, downAfterMs, settings = {} } = options;
  const account = unprivilegedAccount();
  const { password = newPassword() } = options;
  const configuration = join(directory, 'sentinel.conf');
  mkdirSync(directory, { recursive: true });
  const lines = [
    'bind 127.0.0.1',
    `dir ${directory}`,
    `requirepass ${password}`,
    ...Object.entries(settings).map(([name, value]) => `${name} ${value}`),
    `sentinel monitor ${group} 127.0.0.1 ${master.port} ${quorum}`,
    `sentinel auth-pass ${group} ${master.password}`,
    `sentinel down-after-milliseconds ${group} ${downAfterMs}`,
    // Twice this long there is no second failover.
    `sentinel failover-timeout ${group} ${downAfterMs * 2}`,
  ];
  // It writes there what it learns.
  writeFileSync(configuration, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
  for (const path of [directory, configuration]) giveTo(path, account);
  chmodSync(directory, 0o700);
  return runPrivateServer({
    name: 'Redis Sentinel',
    directory,
    dataDirectory: directory,
    logFile: join(directory, 'server.log'),
    stopSignal: 'SIGTERM',
    port: 0,
    account,
    command: (port) => [binary, configuration, '--sentinel', '--port', String(port)],
    url: (port) => `redis://:${password}@127.0.0.1:${port}`,
    probe: (url) => withRedis(url, (sentinel) => sentinel.ping()),
  });
}

export function newPassword(): string {
  return randomBytes(18).toString('hex');
}

/** Connects, calls, disconnects. */
export async function withRedis<Result>(url: string, body: (redis: Redis) => Promise<Result>): Promise<Result> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: PROBE_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    // It asks with INFO, which a test may have renamed.
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  redis.on('error', () => {});
  await redis.connect();
  try {
    return await body(redis);
  } finally {
    redis.disconnect();
  }
}
