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
  /** Holds data, password and log; made if it does not exist, used again if it does. */
  readonly directory: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** Directory of `postgres` and `initdb`; looked for unless given. */
  readonly bin?: string | undefined;
  /** Settings beside the server's defaults. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What the server is started through, such as another clock. */
  readonly through?: (command: readonly string[]) => readonly string[];
  readonly logFile?: string;
}

const SUPERUSER = 'scheduler';
/** On a busy machine the server takes seconds to make a process for a connection; one that is not there refuses at once. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Starts a PostgreSQL of our own on loopback; `url` is its superuser's in the database `postgres`. */
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
    // A fast shutdown: SIGTERM would wait for every client to leave.
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

/** Connects, calls, disconnects. */
export async function withConnection<Result>(
  url: string,
  body: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  // A server that stops under the connection must not end this process.
  client.on('error', () => {});
  await client.connect();
  try {
    return await body(client);
  } finally {
    await client.end();
  }
}

function initialize(bin: string, dataDirectory: string, passwordFile: string): void {
  // A half-made directory of an interrupted start would be refused.
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

/** Where the parent's death does not end the server (macOS), a killed run leaves one behind on its data directory. */
async function endLeftOver(dataDirectory: string): Promise<void> {
  const lock = join(dataDirectory, 'postmaster.pid');
  const pid = existsSync(lock) ? Number.parseInt(readFileSync(lock, 'utf8'), 10) : 0;
  // The number may since have gone to another process.
  if (!(pid > 0) || !isAlive(pid) || !commandLineOf(pid).includes(dataDirectory)) return;
  process.kill(pid, 'SIGINT');
  const deadline = performance.now() + 15_000;
  while (isAlive(pid)) {
    if (performance.now() > deadline)
      throw new Error(`PostgreSQL ${pid} still runs on ${dataDirectory} and does not stop`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
