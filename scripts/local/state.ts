import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { commandLineOf, isAlive } from '../stores/process-tree.ts';

export const root = join(import.meta.dirname, '..', '..');

/** The directory for all files of `up`. UP_DIRECTORY names another one, for example to run a second system. */
const local = resolve(root, process.env['UP_DIRECTORY'] || '.local');

export const paths = {
  local,
  stores: join(local, 'stores'),
  logs: join(local, 'logs'),
  state: join(local, 'up.json'),
  detachedLog: join(local, 'up.log'),
} as const;

/** State that a running `up` stores for later calls of `up` and `down`. */
export interface UpState {
  readonly pid: number;
  /** Addresses of the running system; empty until everything is ready. */
  readonly addresses: readonly string[];
  /** The settings with which it runs, so that commands can use the same stores. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Returns the `up` that runs from this checkout, or null if there is none. */
export function runningUp(): UpState | null {
  try {
    const state = JSON.parse(readFileSync(paths.state, 'utf8')) as UpState;
    // After a crash or a reboot, the process id may belong to another process.
    return isAlive(state.pid) && commandLineOf(state.pid).includes('local/up.ts') ? state : null;
  } catch {
    return null;
  }
}

/** Reserves this checkout for this process. Returns false if another `up` has it. */
export function takeCheckout(): boolean {
  mkdirSync(paths.logs, { recursive: true });
  if (runningUp() === null) rmSync(paths.state, { force: true });
  const own = written([], {});
  try {
    linkSync(own, paths.state);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(own);
  }
}

export function announce(addresses: UpState['addresses'], settings: UpState['settings']): void {
  renameSync(written(addresses, settings), paths.state);
}

/**
 * Writes the state to a temporary file, which replaces the state atomically. A half-written state would look invalid. Nobody
 * else may read it, because it has the passwords of the stores.
 */
function written(addresses: UpState['addresses'], settings: UpState['settings']): string {
  const path = `${paths.state}.${process.pid}`;
  writeFileSync(path, JSON.stringify({ pid: process.pid, addresses, settings } satisfies UpState), { mode: 0o600 });
  return path;
}

export function leaveCheckout(): void {
  rmSync(paths.state, { force: true });
}

/** Returns a path relative to the project's root, for messages. */
export function shown(path: string): string {
  return relative(root, path);
}

/** Returns the last lines of a file, for messages. */
export function tailOf(path: string, lines = 15): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
