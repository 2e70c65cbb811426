import { rmSync } from 'node:fs';
import { runPostgres, type PostgresOptions } from '../../scripts/stores/postgres.ts';
import { freePort, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { runRedis, type RedisOptions } from '../../scripts/stores/redis.ts';
import { atEndOfFile } from './end-of-file.ts';
import { newStoresDirectory } from './memory-directory.ts';
import { startProcess } from './processes.ts';

export type { PrivateServer };

/** A PostgreSQL that this test alone uses, to stop, kill, freeze and restart. Gone at the end of the file. */
export function startPostgres(options: Omit<PostgresOptions, 'directory'> = {}): Promise<PrivateServer> {
  const settings = { max_connections: '100', dynamic_shared_memory_type: 'mmap', ...options.settings };
  return ownedByFile('postgres', (directory) =>
    runPostgres({ bin: process.env['TEST_POSTGRES_BIN'], ...options, settings, directory }),
  );
}

/** A Redis that this test alone uses. It keeps what it holds over a restart only if `SAVE` was sent to it. */
export function startRedis(options: Omit<RedisOptions, 'directory'> = {}): Promise<PrivateServer> {
  return ownedByFile('redis', (directory) => runRedis({ ...options, directory }));
}

/** What makes a Redis a node of a Cluster of its own. */
export async function clusterSettings(): Promise<Record<string, string>> {
  return {
    'cluster-enabled': 'yes',
    'cluster-announce-ip': '127.0.0.1',
    // Unless it is given, it lies 10,000 above the other port, where connections that go out take theirs.
    'cluster-port': String(await freePort()),
  };
}

/** Brings the database of a private PostgreSQL to the present schema. */
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
