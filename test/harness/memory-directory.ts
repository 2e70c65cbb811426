import { chmodSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '../../scripts/stores/process-tree.ts';

const ROOM_NEEDED_BYTES = 2 * 1024 ** 3;
const PREFIX = 'scheduler-tests-';

/** Returns /dev/shm if it has enough room, because fsync costs nothing there; otherwise the temporary directory. */
export function memoryDirectory(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    return bavail * bsize >= ROOM_NEEDED_BYTES ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** Makes a new directory for stores of this process. */
export function newStoresDirectory(purpose: string): string {
  const directory = mkdtempSync(join(memoryDirectory(), `${PREFIX}${process.pid}-${purpose}-`));
  // The servers may run as another account, which has to reach its own subdirectories.
  chmodSync(directory, 0o711);
  return directory;
}

/** Deletes the directories of killed processes, because they would fill the memory. */
export function removeLeftOvers(): void {
  const parent = memoryDirectory();
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
    if (!(pid > 0) || isAlive(pid)) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // A killed run may have left a mounted file system here. Leave it, so that the tests can run anyway.
    }
  }
}
