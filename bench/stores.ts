import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { runPostgres, withConnection } from '../scripts/stores/postgres.ts';
import type { PrivateServer } from '../scripts/stores/private-server.ts';
import { processTree } from '../scripts/stores/process-tree.ts';
import { runRedis } from '../scripts/stores/redis.ts';
import { reachableDirectory } from '../scripts/stores/unprivileged.ts';
import { cpuSeconds, startProcess } from './processes.ts';

/** The PostgreSQL and Redis servers that all contenders use. */
export interface BenchStores {
  readonly postgres: PrivateServer;
  readonly redisServer: PrivateServer;
  /** The URL that contenders use. */
  readonly redisUrl: string;
  /** The bench's own connection, without the delay. */
  readonly redis: Redis;
  /**
   * Creates a database and returns the URL that contenders use. The first call for a name fills a template with
   * `prepare`; every database is a copy of that template.
   */
  freshDatabase(name: string, prepare: (url: string) => Promise<void>): Promise<string>;
  /** Returns user and system time of PostgreSQL so far, in seconds; processes that have ended are included. */
  postgresCpuSeconds(): number;
  redisCpuSeconds(): number;
  /** Returns the bytes of WAL that PostgreSQL has written so far. */
  walBytes(): Promise<number>;
  /** Forgets what earlier contenders left: deletes their databases and empties Redis. */
  clear(): Promise<void>;
  query<Row extends object>(url: string, text: string, values?: unknown[]): Promise<Row[]>;
  close(): Promise<void>;
}

/** Commits are durable, as in production. Memory and WAL are larger than the defaults, which are for tiny machines. */
const POSTGRES_SETTINGS = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  min_wal_size: '1GB',
  max_connections: '200',
  checkpoint_timeout: '15min',
};

/** Creates the WAL files that a server has after a while, because commits wait 50 ms whenever it creates a new one. */
const MAKE_WAL_FILES = `
  SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 1048576))) FROM generate_series(1, 1000)`;

const REDIS_SETTINGS = { appendonly: 'yes', appendfsync: 'everysec', 'auto-aof-rewrite-percentage': '0' };

/** @param rttMs milliseconds that are added to each round trip to a store */
export async function startStores(rttMs = 0): Promise<BenchStores> {
  // The data has to be on the disk, because durable commits would cost nothing in a memory file system.
  const root = reachableDirectory(join(import.meta.dirname, '..', '.local', 'bench-data'));
  const directory = join(root, String(process.pid));
  mkdirSync(directory, { recursive: true });
  const postgres = await runPostgres({ directory: join(directory, 'postgres'), settings: POSTGRES_SETTINGS });
  await withConnection(postgres.url, async (client) => {
    await client.query(MAKE_WAL_FILES);
    await client.query('CHECKPOINT');
  });
  const redisServer = await runRedis({ directory: join(directory, 'redis'), settings: REDIS_SETTINGS });
  const postgresPort = await delayed(postgres.port, rttMs, directory);
  const redisUrl = new URL(redisServer.url);
  redisUrl.port = String(await delayed(redisServer.port, rttMs, directory));
  const redis = new Redis(redisServer.url, { connectTimeout: 60_000 });
  redis.on('error', (error) => console.error(`Redis: ${error.message}`));
  const templates = new Map<string, Promise<void>>();
  let databases: string[] = [];
  let created = 0;

  const admin = (statement: string): Promise<unknown> =>
    withConnection(postgres.url, (client) => client.query(statement));
  const urlOf = (database: string): string => {
    const url = new URL(postgres.url);
    url.port = String(postgresPort);
    url.pathname = `/${database}`;
    return url.href;
  };

  return {
    postgres,
    redisServer,
    redisUrl: redisUrl.href,
    redis,
    async freshDatabase(name, prepare) {
      const base = `bench_${name.replaceAll(/[^a-z0-9]/g, '_')}`;
      const template = `${base}_template`;
      if (!templates.has(template)) {
        const made = admin(`CREATE DATABASE ${template}`).then(() => prepare(urlOf(template)));
        templates.set(template, made);
      }
      await templates.get(template);
      const database = `${base}_${++created}`;
      databases.push(database);
      await admin(`CREATE DATABASE ${database} TEMPLATE ${template} STRATEGY file_copy`);
      return urlOf(database);
    },
    postgresCpuSeconds: () => treeCpuSeconds(postgres.pid),
    redisCpuSeconds: () => cpuSeconds(redisServer.pid),
    async walBytes() {
      const text = `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bytes`;
      const { rows } = await withConnection(postgres.url, (client) => client.query<{ bytes: string }>(text));
      return Number(rows[0]?.bytes);
    },
    async clear() {
      for (const database of databases) await admin(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
      databases = [];
      await redis.flushall();
    },
    async query<Row extends object>(url: string, text: string, values: unknown[] = []) {
      return withConnection(url, async (client) => (await client.query<Row>(text, values)).rows);
    },
    async close() {
      redis.disconnect();
      await Promise.all([postgres.remove(), redisServer.remove()]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Starts a relay that adds the delay and returns its port; without a delay, returns the port of the server itself. */
async function delayed(port: number, rttMs: number, directory: string): Promise<number> {
  if (rttMs === 0) return port;
  const relay = await startProcess({
    command: [process.execPath, join(import.meta.dirname, 'delay.ts'), String(port), String(rttMs)],
    env: {},
    isReady: (line) => line.startsWith('{'),
    log: join(directory, 'delay.log'),
  });
  return (JSON.parse(relay.ready) as { port: number }).port;
}

/** Adds up a process and its children. Counts again if one of them has ended meanwhile: it could be missing, or count twice. */
function treeCpuSeconds(root: number): number {
  for (;;) {
    const pids = processTree(root);
    const seconds = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const still = new Set(processTree(root));
    if (pids.every((pid) => still.has(pid))) return seconds;
  }
}
