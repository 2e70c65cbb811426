import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statfsSync } from 'node:fs';
import { isAlive } from '../../scripts/stores/process-tree.ts';

/** A separate file system in memory. A lower size limit makes it full without writing data. */
export interface BoundedDisk {
  /** Sets the size limit to the used space, so that no block is free, or almost none. */
  fill(): void;
  free(): void;
  remove(): void;
}

const ROOM = '16g';
const HEADROOM_BYTES = [0, 0, 2 ** 17, 2 ** 18, 2 ** 19, 2 ** 20, 2 ** 21, 2 ** 22, 2 ** 23];

/** Mounts a file system on a new directory; returns null if the process may not mount. */
export function mountBoundedDisk(directory: string): BoundedDisk | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return null;
  mkdirSync(directory, { recursive: true });
  if (!mount('-t', 'tmpfs', '-o', `size=${ROOM},mode=0711`, 'scheduler-chaos', directory)) return null;
  const limitTo = (size: string): boolean => mount('-o', `remount,size=${size}`, directory);
  const used = (): number => {
    const { blocks, bfree, bsize } = statfsSync(directory);
    return (blocks - bfree) * bsize;
  };
  return {
    fill() {
      // The kernel refuses a limit below the used space, which may grow meanwhile. Then try a higher limit.
      for (const headroom of HEADROOM_BYTES) if (limitTo(String(used() + headroom))) return;
      throw new Error(`${directory} grows faster than its limit can be set`);
    },
    free() {
      if (!limitTo(ROOM)) throw new Error(`the limit of ${directory} cannot be lifted`);
    },
    remove: () => unmount(directory),
  };
}

/** Unmounts the file systems of runs that were killed. The names of their directories contain the process id. */
export function unmountLeftOvers(): void {
  if (process.platform !== 'linux') return;
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const directory = line.startsWith('scheduler-chaos ') ? (line.split(' ')[1] ?? '') : '';
    const pid = Number(/-(\d+)-chaos-/.exec(directory)?.[1]);
    if (pid > 0 && !isAlive(pid)) unmount(directory);
  }
}

function mount(...args: string[]): boolean {
  return spawnSync('mount', args).status === 0;
}

function unmount(directory: string): void {
  // Unmount lazily, because a server that is about to end may still have a file open.
  spawnSync('umount', ['--lazy', directory]);
}
