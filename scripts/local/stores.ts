import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { findPostgres, findRedis } from '../stores/binaries.ts';
import { runPostgres } from '../stores/postgres.ts';
import { runRedis } from '../stores/redis.ts';
import { reachableDirectory } from '../stores/unprivileged.ts';
import { paths, root, shown } from './state.ts';

/** A store that `up` uses. `release` is called when `up` ends. */
export interface UsedStore {
  readonly url: string;
  /** Where the store comes from, for messages. */
  readonly origin: string;
  release(): Promise<void>;
}

interface Source {
  readonly variable: 'DATABASE_URL' | 'REDIS_URL';
  readonly service: 'postgres' | 'redis';
  readonly needs: string;
  readonly debianPackage: string;
  readonly isInstalled: () => boolean;
  readonly run: () => Promise<{ url: string; stop(): Promise<void> }>;
  readonly composeUrl: (address: string) => string;
}

const POSTGRES: Source = {
  variable: 'DATABASE_URL',
  service: 'postgres',
  needs: 'PostgreSQL 15 or newer',
  debianPackage: 'postgresql',
  isInstalled: () => findPostgres() !== null,
  run: () =>
    runPostgres({
      directory: join(reachableDirectory(paths.stores), 'postgres'),
      logFile: join(paths.logs, 'postgres.log'),
    }),
  composeUrl: (address) => `postgresql://scheduler:scheduler@${address}/scheduler`,
};

const REDIS: Source = {
  variable: 'REDIS_URL',
  service: 'redis',
  needs: 'Redis 7 or newer',
  debianPackage: 'redis-server',
  isInstalled: () => findRedis() !== null,
  run: () =>
    runRedis({ directory: join(reachableDirectory(paths.stores), 'redis'), logFile: join(paths.logs, 'redis.log') }),
  composeUrl: (address) => `redis://${address}/0`,
};

/**
 * Finds or starts a PostgreSQL and a Redis. For each, it tries in this order: the address in the environment, a private
 * instance of a program on this machine, Docker Compose, a private instance after installing a Debian package.
 * @throws Error that says what to install
 */
export async function provideStores(): Promise<{ postgres: UsedStore; redis: UsedStore }> {
  const postgres = await provide(POSTGRES);
  try {
    return { postgres, redis: await provide(REDIS) };
  } catch (error) {
    await postgres.release();
    throw error;
  }
}

async function provide(source: Source): Promise<UsedStore> {
  const given = process.env[source.variable] ?? '';
  if (given !== '') return { url: given, origin: `${source.variable} of the environment`, async release() {} };
  if (source.isInstalled()) return startOwn(source);
  if (dockerAnswers()) return startInDocker(source);
  if (installDebianPackage(source.debianPackage) && source.isInstalled()) return startOwn(source);
  throw new Error(
    `no ${source.needs} was found. Any of these helps: set ${source.variable}; ` +
      `install it (Debian, Ubuntu: apt-get install ${source.debianPackage}; macOS: brew install ${source.service}); start Docker`,
  );
}

async function startOwn(source: Source): Promise<UsedStore> {
  const server = await source.run();
  return {
    url: server.url,
    origin: `a private instance, data in ${shown(paths.stores)}`,
    release: () => server.stop(),
  };
}

function dockerAnswers(): boolean {
  return docker('version').status === 0 && docker('compose', 'version').status === 0;
}

async function startInDocker(source: Source): Promise<UsedStore> {
  const key = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const files = ['compose.yaml', 'scripts/local/compose.ports.yaml'].flatMap((file) => ['--file', file]);
  const compose = (...args: string[]) =>
    docker('compose', '--project-name', `scheduler-up-${key}`, '--env-file', '.env.example', ...files, ...args);

  const started = compose('up', '--detach', '--wait', source.service);
  if (started.status !== 0) throw new Error(`docker compose could not start ${source.service}:\n${started.stderr}`);
  const inner = source.service === 'postgres' ? '5432' : '6379';
  const address = compose('port', source.service, inner).stdout.trim();
  return {
    url: source.composeUrl(address),
    origin: 'Docker Compose',
    async release() {
      compose('stop', source.service);
    },
  };
}

function docker(...args: string[]) {
  return spawnSync('docker', args, { cwd: root, encoding: 'utf8', timeout: 600_000 });
}

function installDebianPackage(name: string): boolean {
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) return false;
  console.log(`installing ${name}`);
  // With this run level, the packages start no services. This script starts private servers instead.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const apt = (...args: string[]): boolean => spawnSync('apt-get', args, { env, stdio: 'ignore' }).status === 0;
  return apt('update') && apt('install', '--yes', '--no-install-recommends', name);
}
