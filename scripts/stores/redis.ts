import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findRedis } from './binaries.ts';
import { runPrivateServer, type PrivateServer } from './private-server.ts';
import { giveTo, unprivilegedAccount } from './unprivileged.ts';

export interface RedisOptions {
  /** Directory for data, configuration and log. It is created if it does not exist. */
  readonly directory: string;
  /** With 0, the default, the server gets a free port. */
  readonly port?: number;
  /** Settings in addition to the defaults here, which are no persistence and `noeviction`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Password; random by default. Replicas, and the masters of a Cluster, share one password. */
  readonly password?: string;
  readonly logFile?: string;
}

const PROBE_TIMEOUT_MS = 1_000;

/** Starts a private Redis on loopback. Without persistence, `stop()` and `kill()` lose its data. */
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
  // The password is in a file, because every user of the machine can read the command line.
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
  /** The master, which the Sentinel watches under the name `group`. */
  readonly master: { readonly port: number; readonly password: string };
  readonly group: string;
  readonly quorum: number;
  /** Milliseconds without an answer after which the master counts as down. */
  readonly downAfterMs: number;
  /** Password; random by default. The Sentinels of a group share it. */
  readonly password?: string;
  /** Additional settings. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Starts a private Sentinel on loopback. */
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
    // A second failover can start only after twice this time.
    `sentinel failover-timeout ${group} ${downAfterMs * 2}`,
  ];
  // The Sentinel writes its state into this file.
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

/** Calls `body` with a connection and closes it afterwards. */
export async function withRedis<Result>(url: string, body: (redis: Redis) => Promise<Result>): Promise<Result> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: PROBE_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    // The ready check uses INFO, which a test may have renamed.
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
