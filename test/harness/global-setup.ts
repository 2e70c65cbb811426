import { execFile } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { runPostgres, withConnection } from '../../scripts/stores/postgres.ts';
import { runRedis, withRedis } from '../../scripts/stores/redis.ts';
import { newStoresDirectory, removeLeftOvers } from './memory-directory.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URL of the database `postgres`, as its superuser. */
    adminUrl: string;
    /** A migrated database; each test file uses a clone of it. */
    templateDatabase: string;
    redisUrl: string;
  }
}

const TEMPLATE = 'scheduler_template';
/** Directory that keeps the stores of the last run with a failed test. */
const KEPT = join(tmpdir(), 'scheduler-tests-kept');

/**
 * Starts a PostgreSQL and a Redis for all test files, and migrates a template
 * database. `TEST_POSTGRES_BIN` names the directory of a different PostgreSQL.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  removeLeftOvers();
  const directory = newStoresDirectory('shared');
  const postgres = await runPostgres({
    directory: join(directory, 'postgres'),
    bin: process.env['TEST_POSTGRES_BIN'],
    // Keep shared memory in files, so that it is deleted with the directory even if the server was killed.
    settings: { max_connections: '300', max_wal_size: '512MB', dynamic_shared_memory_type: 'mmap' },
  });
  const redis = await runRedis({ directory: join(directory, 'redis') });

  const teardown = async (): Promise<void> => {
    const kept = await keptDatabases(postgres.url);
    if (kept.length > 0) await withRedis(redis.url, (connection) => connection.save());
    await postgres.stop();
    await redis.stop();
    if (kept.length > 0) {
      rmSync(KEPT, { recursive: true, force: true });
      cpSync(directory, KEPT, { recursive: true, preserveTimestamps: true });
      process.stderr.write(
        `stores of failed tests: ${KEPT} (PostgreSQL databases ${kept.join(', ')}; Redis dump.rdb)\n`,
      );
    }
    rmSync(directory, { recursive: true, force: true });
  };

  try {
    const databaseUrl = await createTemplate(postgres.url);
    const env = { ...process.env, DATABASE_URL: databaseUrl, REDIS_URL: redis.url, LOG_LEVEL: 'warn' };
    await promisify(execFile)(process.execPath, ['src/main.ts', 'migrate'], { env, timeout: 60_000 });
  } catch (error) {
    await teardown();
    throw error;
  }
  project.provide('adminUrl', postgres.url);
  project.provide('templateDatabase', TEMPLATE);
  project.provide('redisUrl', redis.url);
  return teardown;
}

async function createTemplate(adminUrl: string): Promise<string> {
  await withConnection(adminUrl, (client) => client.query(`CREATE DATABASE ${TEMPLATE}`));
  const url = new URL(adminUrl);
  url.pathname = `/${TEMPLATE}`;
  return url.href;
}

/** Returns the databases that test files kept because one of their tests failed. */
async function keptDatabases(adminUrl: string): Promise<string[]> {
  const text = `SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' ORDER BY datname`;
  const result = await withConnection(adminUrl, (client) => client.query<{ datname: string }>(text));
  return result.rows.map((row) => row.datname);
}
