import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { expect, inject } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { atEndOfFile } from './end-of-file.ts';

/** A migrated database and a Redis prefix that no other test file uses. */
export interface TestStores {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly redisPrefix: string;
  /** A complete environment for `readConfig()` and for `startProcess()`. */
  readonly env: Record<string, string>;
  /** Drops both now. Without this call, they are dropped at the end of the file, unless a test failed. */
  close(): Promise<void>;
}

export interface TestStoresOptions {
  /** A private Redis, for tests that empty or stop it. */
  readonly redisUrl?: string;
  /** A migrated database of a private PostgreSQL. */
  readonly databaseUrl?: string;
}

/** Clones the migrated template database and chooses a new Redis prefix. */
export async function createTestStores(options: TestStoresOptions = {}): Promise<TestStores> {
  const suffix = randomBytes(5).toString('hex');
  const redisUrl = options.redisUrl ?? inject('redisUrl');
  const redisPrefix = `test-${suffix}`;
  const database = options.databaseUrl === undefined ? databaseName(suffix) : null;
  const databaseUrl = options.databaseUrl ?? (await cloneTemplate(database as string));

  let open = true;
  const close = async (): Promise<void> => {
    if (!open) return;
    open = false;
    if (database !== null) await admin(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
    if (options.redisUrl === undefined) await deleteKeys(redisUrl, redisPrefix);
  };
  atEndOfFile(async (aTestFailed) => {
    if (aTestFailed && open)
      process.stderr.write(`kept: database ${database ?? databaseUrl}, Redis keys *${redisPrefix}*\n`);
    else await close();
  });

  const env = {
    DATABASE_URL: databaseUrl,
    DATABASE_POOL_MAX: '5',
    REDIS_URL: redisUrl,
    REDIS_PREFIX: redisPrefix,
    REDIS_HEARTBEAT_PREFIX: `${redisPrefix}:`,
    LOG_LEVEL: 'info',
    HOST: '127.0.0.1',
    PORT: '0',
    METRICS_PORT: '0',
  };
  return { databaseUrl, redisUrl, redisPrefix, env, close };
}

/** Creates an empty database, which is dropped at the end of the file. @returns its URL, as the superuser */
export async function emptyDatabase(options = ''): Promise<string> {
  const database = databaseName(randomBytes(5).toString('hex'));
  await admin(`CREATE DATABASE ${database} ${options}`);
  atEndOfFile(() => admin(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`));
  const url = new URL(inject('adminUrl'));
  url.pathname = `/${database}`;
  return url.href;
}

async function cloneTemplate(database: string): Promise<string> {
  await admin(`CREATE DATABASE ${database} TEMPLATE ${inject('templateDatabase')}`);
  const url = new URL(inject('adminUrl'));
  url.pathname = `/${database}`;
  return url.href;
}

/** Returns a name that contains the name of the test file, so that a kept database can be recognized. */
function databaseName(suffix: string): string {
  const file = basename(expect.getState().testPath ?? 'unknown').replace(/\.(it\.)?test\.ts$/, '');
  return `test_${file
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '_')
    .slice(0, 40)}_${suffix}`;
}

async function admin(statement: string): Promise<void> {
  await withConnection(inject('adminUrl'), (client) => client.query(statement));
}

async function deleteKeys(redisUrl: string, prefix: string): Promise<void> {
  await withRedis(redisUrl, async (redis) => {
    for await (const keys of redis.scanStream({ match: `*${prefix}:*`, count: 1_000 })) {
      if (keys.length > 0) await redis.unlink(keys as string[]);
    }
  });
}
