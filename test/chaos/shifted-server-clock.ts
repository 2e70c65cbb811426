import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARIES = '/usr/lib';

/** Where Debian's libfaketime lies; null where it is not installed. */
export function findFaketime(): string | null {
  if (!existsSync(LIBRARIES)) return null;
  const candidates = readdirSync(LIBRARIES).map((name) => join(LIBRARIES, name, 'faketime/libfaketime.so.1'));
  return candidates.find((path) => existsSync(path)) ?? null;
}

/**
 * The command with its wall clock ahead by `ms` (its monotonic one stays), as on a host
 * whose clock is off. Node's own processes have `shifted-clock.ts` for that.
 * Not for Redis: its allocator and libfaketime call each other. @throws where libfaketime is not installed
 */
export function withClockAhead(ms: number, command: readonly string[]): string[] {
  const library = findFaketime();
  if (library === null) throw new Error('libfaketime is not installed');
  const seconds = `${ms < 0 ? '-' : '+'}${Math.abs(ms) / 1_000}`;
  return ['env', `LD_PRELOAD=${library}`, `FAKETIME=${seconds}`, 'FAKETIME_DONT_FAKE_MONOTONIC=1', ...command];
}
