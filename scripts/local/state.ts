import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { commandLineOf, isAlive } from '../stores/process-tree.ts';

export const root = join(import.meta.dirname, '..', '..');

/** Holds everything that `up` leaves on the disk; UP_DIRECTORY names another place, for a second system beside the first. */
const local = resolve(root, process.env['UP_DIRECTORY'] || '.local');

export const paths = {
  local,
  stores: join(local, 'stores'),
  logs: join(local, 'logs'),
  state: join(local, 'up.json'),
  detachedLog: join(local, 'up.log'),
} as const;

/** What a running `up` tells the next `up` and `down`. */
export interface UpState {
  readonly pid: number;
  /** Empty until everything is ready. */
  readonly addresses: readonly string[];
}

/** The `up` that runs from this checkout; null if there is none. */
export function runningUp(): UpState | null {
  try {
    const state = JSON.parse(readFileSync(paths.state, 'utf8')) as UpState;
    // After a crash or a reboot the number may be another process's.
    return isAlive(state.pid) && commandLineOf(state.pid).includes('local/up.ts') ? state : null;
  } catch {
    return null;
  }
}

/** Takes this checkout for our process; false if another `up` was faster. */
export function takeCheckout(): boolean {
  mkdirSync(paths.logs, { recursive: true });
  if (runningUp() === null) rmSync(paths.state, { force: true });
  const own = written([]);
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

export function announce(addresses: readonly string[]): void {
  renameSync(written(addresses), paths.state);
}

/** A file of our own to put in the state's place, whole: one that is being written looks like a crash's. */
function written(addresses: readonly string[]): string {
  const path = `${paths.state}.${process.pid}`;
  writeFileSync(path, JSON.stringify({ pid: process.pid, addresses }));
  return path;
}

export function leaveCheckout(): void {
  rmSync(paths.state, { force: true });
}

/** A path as a person in the project's root would type it. */
export function shown(path: string): string {
  return relative(root, path);
}

/** The end of a file, for messages. */
export function tailOf(path: string, lines = 15): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
