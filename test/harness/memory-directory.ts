import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';

const ROOM_NEEDED_BYTES = 2 * 1024 ** 3;

/** A directory in memory where there is room for the stores (fsync costs nothing there), else the usual temporary one. */
export function memoryDirectory(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    return bavail * bsize >= ROOM_NEEDED_BYTES ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
}
