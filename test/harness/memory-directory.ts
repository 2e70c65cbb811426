import { chmodSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '../../scripts/stores/process-tree.ts';

const ROOM_NEEDED_BYTES = 2 * 1024 ** 3;
const PREFIX = 'scheduler-tests-';

/** A directory in memory where there is room for the stores (fsync costs nothing there), else the usual temporary one. */
export function memoryDirectory(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    return bavail * bsize >= ROOM_NEEDED_BYTES ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** A new directory for stores of this process. */
export function newStoresDirectory(purpose: string): string {
  const directory = mkdtempSync(join(memoryDirectory(), `${PREFIX}${process.pid}-${purpose}-`));
  // The servers may run as another account, which has to get through to its own directories in here.
  chmodSync(directory, 0o711);
  return directory;
}

/** Deletes the directories of processes that were killed before they could do so: they would fill the memory. */
export function removeLeftOvers(): void {
  const parent = memoryDirectory();
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
    if (!(pid > 0) || isAlive(pid)) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // A file system that a killed run mounted in there stays; it must not keep the others from running.
    }
  }
}
