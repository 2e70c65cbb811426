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
  /** A random one unless given; replicas need their master's. */
  readonly password?: string;
  /** Settings beside ours: no persistence, `noeviction`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly logFile?: string;
}

const PROBE_TIMEOUT_MS = 1_000;

/** Starts a Redis of our own on loopback. Without persistence, `stop()` and `kill()` lose what it held. */
export async function runRedis(options: RedisOptions): Promise<PrivateServer> {
  const binary = findRedis();
  if (binary === null) throw new Error('no Redis 7 or newer is installed: `redis-server` is not on PATH');
  const account = unprivilegedAccount();
  const password = options.password ?? randomBytes(18).toString('hex');
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

/** Connects, calls, disconnects. */
export async function withRedis<Result>(url: string, body: (redis: Redis) => Promise<Result>): Promise<Result> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: PROBE_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
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
