import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  if (runningUp() !== null) return false;
  rmSync(paths.state, { force: true });
  try {
    writeFileSync(paths.state, JSON.stringify({ pid: process.pid, addresses: [] }), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

export function announce(addresses: readonly string[]): void {
  writeFileSync(paths.state, JSON.stringify({ pid: process.pid, addresses }));
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
