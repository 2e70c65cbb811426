import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findOnPath } from '../../scripts/stores/binaries.ts';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { runPrivateServer, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { giveTo, unprivilegedAccount } from '../../scripts/stores/unprivileged.ts';
import { atEndOfFile } from './end-of-file.ts';
import { newStoresDirectory } from './memory-directory.ts';

/**
 * Starts a real PgBouncer in transaction mode in front of a PostgreSQL. Its `url` has the same database and user.
 * @param settings settings of PgBouncer that extend or replace the defaults
 */
export async function startPgBouncer(
  upstreamUrl: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<PrivateServer> {
  const program = findOnPath('pgbouncer');
  if (program === null) throw new Error('PgBouncer is missing: install the package `pgbouncer`');
  const account = unprivilegedAccount();
  const upstream = new URL(upstreamUrl);
  const directory = newStoresDirectory('pgbouncer');
  const configuration = join(directory, 'pgbouncer.ini');
  const server = await runPrivateServer({
    name: 'PgBouncer',
    directory,
    dataDirectory: directory,
    logFile: join(directory, 'server.log'),
    stopSignal: 'SIGINT',
    port: 0,
    account,
    command: (port) => {
      const { username, password, hostname, port: upstreamPort } = upstream;
      const all = { listen_addr: '127.0.0.1', listen_port: port, unix_socket_dir: '', auth_type: 'any', ...settings };
      const lines = Object.entries({ pool_mode: 'transaction', ...all }).map(([name, value]) => `${name} = ${value}\n`);
      writeFileSync(
        configuration,
        `[databases]\n* = host=${hostname} port=${upstreamPort} user=${username} password=${password}\n[pgbouncer]\n${lines.join('')}`,
        { mode: 0o600 },
      );
      for (const path of [directory, configuration]) giveTo(path, account);
      chmodSync(directory, 0o700);
      return [program, configuration];
    },
    url: (port) => {
      const url = new URL(upstreamUrl);
      url.port = String(port);
      return url.href;
    },
    probe: (url) => withConnection(url, (client) => client.query('SELECT')),
  });
  atEndOfFile(() => server.remove());
  return server;
}
