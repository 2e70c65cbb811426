import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

const POSTGRES_MINIMUM = 15;
const REDIS_MINIMUM = 7;

/**
 * Places in which packages install PostgreSQL without adding it to PATH. Each pair is a root, which has one directory per
 * version, and the directory of the programs inside it.
 */
const POSTGRES_PLACES = [
  ['/usr/lib/postgresql', 'bin'],
  ['/opt/homebrew/opt', 'bin'],
  ['/usr/local/opt', 'bin'],
  ['/usr', 'bin'],
] as const;

/**
 * Finds the directory of `postgres` and `initdb`, version 15 or newer.
 * @param chosen a directory to use without a search
 * @returns null if there is none
 * @throws Error if the chosen directory does not contain them
 */
export function findPostgres(chosen?: string): string | null {
  if (chosen !== undefined && chosen !== '') {
    if (!isPostgres(chosen))
      throw new Error(`${chosen} does not hold postgres and initdb, version ${POSTGRES_MINIMUM} or newer`);
    return chosen;
  }
  const onPath = findOnPath('postgres');
  // PATH may contain only a link, and initdb expects its files next to the real program.
  const real = onPath === null ? null : dirname(realpathSync(onPath));
  if (real !== null && isPostgres(real)) return real;
  for (const [root, bin] of POSTGRES_PLACES) {
    const versions = directoriesOf(root)
      .filter((name) => /^(\d+|postgresql(@\d+)?|pgsql-\d+)$/.test(name))
      .toSorted((a, b) => numberIn(b) - numberIn(a));
    const found = versions.map((version) => join(root, version, bin)).find(isPostgres);
    if (found !== undefined) return found;
  }
  return null;
}

/** Returns the path of redis-server 7 or newer, or null if there is none. */
export function findRedis(): string | null {
  const path = findOnPath('redis-server');
  if (path === null) return null;
  const version = /v=(\d+)\./.exec(output(path, ['--version']));
  return version !== null && Number(version[1]) >= REDIS_MINIMUM ? path : null;
}

function isPostgres(directory: string): boolean {
  if (!isExecutable(join(directory, 'initdb')) || !isExecutable(join(directory, 'postgres'))) return false;
  const version = /\(PostgreSQL\) (\d+)/.exec(output(join(directory, 'postgres'), ['--version']));
  return version !== null && Number(version[1]) >= POSTGRES_MINIMUM;
}

/** Returns a path without resolving links: redis-server can be a link to a program that depends on its own name. */
export function findOnPath(program: string): string | null {
  const directories = (process.env['PATH'] ?? '')
    .split(delimiter)
    .concat('/usr/local/bin', '/usr/bin', '/usr/sbin', '/opt/homebrew/bin');
  return directories.map((directory) => join(directory, program)).find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function directoriesOf(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function numberIn(name: string): number {
  return Number(/\d+/.exec(name)?.[0] ?? 0);
}

function output(program: string, args: readonly string[]): string {
  return spawnSync(program, args, { encoding: 'utf8' }).stdout ?? '';
}
