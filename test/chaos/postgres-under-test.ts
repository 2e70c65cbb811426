import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findPostgres } from '../../scripts/stores/binaries.ts';
import { runPostgres, withConnection } from '../../scripts/stores/postgres.ts';
import type { PrivateServer } from '../../scripts/stores/private-server.ts';
import { asAccount, giveTo, unprivilegedAccount } from '../../scripts/stores/unprivileged.ts';
import { mountBoundedDisk, type BoundedDisk } from './bounded-disk.ts';
import { withClockAhead } from './shifted-server-clock.ts';
import { until } from './until.ts';

/** The PostgreSQL of a run. Its fields always refer to the current primary. */
export interface PostgresUnderTest {
  readonly url: string;
  readonly port: number;
  readonly primary: PrivateServer;
  /** How far its clock is ahead of the host's. */
  readonly clockAheadMs: number;
  /** Null if file systems cannot be mounted. */
  readonly disk: BoundedDisk | null;
  /**
   * Gives the primary a synchronous standby; `takeOver()` kills the primary and promotes the standby.
   * @throws if pg_basebackup is not installed
   */
  addStandby(): Promise<{ takeOver(): Promise<{ fromPort: number; toPort: number }> }>;
  remove(): Promise<void>;
}

const SETTINGS = { max_connections: '150', max_wal_size: '512MB' };

/** @param clockAheadMs how far the server's clock is ahead; 0 for the host's clock or if libfaketime is missing */
export async function startPostgresUnderTest(parent: string, clockAheadMs: number): Promise<PostgresUnderTest> {
  const root = join(parent, 'postgres');
  mkdirSync(root);
  const disk = mountBoundedDisk(root);
  chmodSync(root, 0o711);
  const run = (directory: string): Promise<PrivateServer> =>
    runPostgres({
      directory,
      settings: SETTINGS,
      ...(clockAheadMs === 0 ? {} : { through: (command) => withClockAhead(clockAheadMs, command) }),
    });
  let count = 1;
  let primary = await run(join(root, 'server-1'));

  const addStandby = async (): Promise<PrivateServer> => {
    const directory = join(root, `server-${++count}`);
    await copyServer(primary, directory);
    const standby = await run(directory);
    await withConnection(primary.url, async (client) => {
      await client.query(`ALTER SYSTEM SET synchronous_standby_names = '*'`);
      await client.query('SELECT pg_reload_conf()');
      const text = `SELECT count(*)::int AS count FROM pg_stat_replication WHERE sync_state = 'sync'`;
      await until('the standby is synchronous', async () => (await client.query(text)).rows[0].count === 1);
    });
    return standby;
  };

  return {
    get url() {
      return primary.url;
    },
    get port() {
      return primary.port;
    },
    get primary() {
      return primary;
    },
    clockAheadMs,
    disk,
    async addStandby() {
      const standby = await addStandby();
      return {
        async takeOver() {
          const old = primary;
          await old.kill();
          await withConnection(standby.url, (client) => client.query('SELECT pg_promote(true, 30)'));
          primary = standby;
          await old.remove();
          return { fromPort: old.port, toPort: standby.port };
        },
      };
    },
    async remove() {
      await primary.remove();
      disk?.remove();
    },
  };
}

/** Makes a base backup of a running server, from which a standby starts. */
async function copyServer(primary: PrivateServer, directory: string): Promise<void> {
  const program = join(findPostgres() ?? '', 'pg_basebackup');
  if (!existsSync(program)) throw new Error(`a standby needs pg_basebackup, and there is no ${program}`);
  const account = unprivilegedAccount();
  mkdirSync(directory);
  giveTo(directory, account);
  chmodSync(directory, 0o700);
  const password = join(directory, 'password');
  copyFileSync(join(primary.dataDirectory, '../password'), password);
  giveTo(password, account);
  const command = [program, '--pgdata', join(directory, 'data'), '--checkpoint=fast', '--write-recovery-conf'];
  const [file, ...args] = asAccount([...command, '--dbname', primary.url], account) as [string, ...string[]];
  await promisify(execFile)(file, args, { cwd: '/' });
}
