import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARIES = '/usr/lib';

/** Returns the path of Debian's libfaketime; null if it is not installed. */
export function findFaketime(): string | null {
  if (!existsSync(LIBRARIES)) return null;
  const candidates = readdirSync(LIBRARIES).map((name) => join(LIBRARIES, name, 'faketime/libfaketime.so.1'));
  return candidates.find((path) => existsSync(path)) ?? null;
}

/**
 * Returns the command with a wall clock that is ahead by `ms`, as on a host whose clock is wrong. Its monotonic clock
 * does not change. Processes of Node.js use `shifted-clock.ts` instead. Redis cannot run with libfaketime, because its
 * allocator and libfaketime call each other. @throws if libfaketime is not installed
 */
export function withClockAhead(ms: number, command: readonly string[]): string[] {
  const library = findFaketime();
  if (library === null) throw new Error('libfaketime is not installed');
  const seconds = `${ms < 0 ? '-' : '+'}${Math.abs(ms) / 1_000}`;
  return ['env', `LD_PRELOAD=${library}`, `FAKETIME=${seconds}`, 'FAKETIME_DONT_FAKE_MONOTONIC=1', ...command];
}
