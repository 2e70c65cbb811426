import { rmSync } from 'node:fs';
import { runPostgres, type PostgresOptions } from '../../scripts/stores/postgres.ts';
import { freePort, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { runRedis, type RedisOptions } from '../../scripts/stores/redis.ts';
import { atEndOfFile } from './end-of-file.ts';
import { newStoresDirectory } from './memory-directory.ts';
import { startProcess } from './processes.ts';

export type { PrivateServer };

/** Starts a private PostgreSQL that a test can stop, kill, freeze and restart. It is removed at the end of the file. */
export function startPostgres(options: Omit<PostgresOptions, 'directory'> = {}): Promise<PrivateServer> {
  const settings = { max_connections: '100', dynamic_shared_memory_type: 'mmap', ...options.settings };
  return ownedByFile('postgres', (directory) =>
    runPostgres({ bin: process.env['TEST_POSTGRES_BIN'], ...options, settings, directory }),
  );
}

/** Starts a private Redis for a test. Its data survives a restart only if the test sent `SAVE` before. */
export function startRedis(options: Omit<RedisOptions, 'directory'> = {}): Promise<PrivateServer> {
  return ownedByFile('redis', (directory) => runRedis({ ...options, directory }));
}

/** Returns settings that make a Redis the only node of a Cluster. */
export async function clusterSettings(): Promise<Record<string, string>> {
  return {
    'cluster-enabled': 'yes',
    'cluster-announce-ip': '127.0.0.1',
    // The default is 10,000 above the server's port, in the range from which outgoing connections take their ports.
    'cluster-port': String(await freePort()),
  };
}

/** Migrates the database of a private PostgreSQL to the current schema. */
export async function migrate(env: Record<string, string>): Promise<void> {
  const migration = startProcess(['node', 'src/main.ts', 'migrate'], env);
  const { code } = await migration.waitForExit(60_000);
  if (code !== 0) throw new Error(`migrate ended with ${code}:\n${migration.output}`);
}

async function ownedByFile(name: string, start: (directory: string) => Promise<PrivateServer>): Promise<PrivateServer> {
  const directory = newStoresDirectory(name);
  atEndOfFile(async () => rmSync(directory, { recursive: true, force: true }));
  const server = await start(directory);
  atEndOfFile(() => server.stop());
  return server;
}
