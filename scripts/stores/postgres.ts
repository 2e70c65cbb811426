import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { findPostgres } from './binaries.ts';
import { runPrivateServer, type PrivateServer } from './private-server.ts';
import { commandLineOf, isAlive } from './process-tree.ts';
import { asAccount, giveTo, unprivilegedAccount } from './unprivileged.ts';

export interface PostgresOptions {
  /** Directory for data, password and log. It is created if it does not exist, and reused if it does. */
  readonly directory: string;
  /** With 0, the default, the server gets a free port. */
  readonly port?: number;
  /** Directory of `postgres` and `initdb`; if missing, they are searched. */
  readonly bin?: string | undefined;
  /** Settings that differ from the server's defaults. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Wraps the command of the server, for example to give it another clock. */
  readonly through?: (command: readonly string[]) => readonly string[];
  readonly logFile?: string;
}

const SUPERUSER = 'scheduler';
/**
 * On a busy machine, the server needs seconds to start a process for a connection. A server that does not run refuses the
 * connection at once.
 */
const CONNECT_TIMEOUT_MS = 10_000;

/** Starts a private PostgreSQL on loopback. `url` is for the superuser and the database `postgres`. */
export async function runPostgres(options: PostgresOptions): Promise<PrivateServer> {
  const bin = findPostgres(options.bin);
  if (bin === null) throw new Error('no PostgreSQL 15 or newer is installed: `postgres` and `initdb` are not on PATH');
  const account = unprivilegedAccount();
  const dataDirectory = join(options.directory, 'data');
  const passwordFile = join(options.directory, 'password');
  mkdirSync(options.directory, { recursive: true });
  giveTo(options.directory, account);
  chmodSync(options.directory, 0o700);

  if (!existsSync(join(dataDirectory, 'PG_VERSION'))) {
    writeFileSync(passwordFile, randomBytes(18).toString('hex'), { mode: 0o600 });
    giveTo(passwordFile, account);
    initialize(bin, dataDirectory, passwordFile);
  }
  await endLeftOver(dataDirectory);

  const password = readFileSync(passwordFile, 'utf8');
  const { through = (command) => command } = options;
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
  return runPrivateServer({
    name: 'PostgreSQL',
    directory: options.directory,
    dataDirectory,
    logFile: options.logFile ?? join(options.directory, 'server.log'),
    // SIGINT starts a fast shutdown. SIGTERM would wait until every client has disconnected.
    stopSignal: 'SIGINT',
    port: options.port ?? 0,
    account,
    command: (port) =>
      through([
        join(bin, 'postgres'),
        '-D',
        dataDirectory,
        '-p',
        String(port),
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ]),
    url: (port) => `postgresql://${SUPERUSER}:${password}@127.0.0.1:${port}/postgres`,
    probe: (url) => withConnection(url, (client) => client.query('SELECT')),
  });
}

/** Calls `body` with a connection and closes it afterwards. */
export async function withConnection<Result>(
  url: string,
  body: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  // Without a listener, a server that stops during the connection would end this process.
  client.on('error', () => {});
  await client.connect();
  try {
    return await body(client);
  } finally {
    await client.end();
  }
}

function initialize(bin: string, dataDirectory: string, passwordFile: string): void {
  // initdb would refuse an incomplete directory of an interrupted start.
  rmSync(dataDirectory, { recursive: true, force: true });
  const [program, ...args] = asAccount(
    [
      join(bin, 'initdb'),
      `--pgdata=${dataDirectory}`,
      `--username=${SUPERUSER}`,
      '--auth=scram-sha-256',
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
    ],
    unprivilegedAccount(),
  ) as [string, ...string[]];
  const result = spawnSync(program, args, { encoding: 'utf8', cwd: '/' });
  if (result.status !== 0) throw new Error(`initdb failed: ${result.error?.message ?? result.stderr}`);
}

/** Stops a server that a killed run has left behind. On macOS, the parent's death does not end the server. */
async function endLeftOver(dataDirectory: string): Promise<void> {
  const lock = join(dataDirectory, 'postmaster.pid');
  const pid = existsSync(lock) ? Number.parseInt(readFileSync(lock, 'utf8'), 10) : 0;
  // The process id may belong to another process by now.
  if (!(pid > 0) || !isAlive(pid) || !commandLineOf(pid).includes(dataDirectory)) return;
  process.kill(pid, 'SIGINT');
  const deadline = performance.now() + 15_000;
  while (isAlive(pid)) {
    if (performance.now() > deadline)
      throw new Error(`PostgreSQL ${pid} still runs on ${dataDirectory} and does not stop`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
