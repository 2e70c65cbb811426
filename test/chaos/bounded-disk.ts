import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, statfsSync } from 'node:fs';
import { isAlive } from '../../scripts/stores/process-tree.ts';

/** A file system of its own in memory, which can be made full at any moment without filling anything. */
export interface BoundedDisk {
  /** From now on no block is free, or soon none: the limit is set to what is in use. */
  fill(): void;
  free(): void;
  remove(): void;
}

const ROOM = '16g';
const HEADROOM_BYTES = [0, 0, 2 ** 17, 2 ** 18, 2 ** 19, 2 ** 20, 2 ** 21, 2 ** 22, 2 ** 23];

/** Mounts one on a new directory; null where the caller may not mount. */
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
      // A limit below what is in use is refused, and more may be in use by the time it is set.
      for (const headroom of HEADROOM_BYTES) if (limitTo(String(used() + headroom))) return;
      throw new Error(`${directory} grows faster than its limit can be set`);
    },
    free() {
      if (!limitTo(ROOM)) throw new Error(`the limit of ${directory} cannot be lifted`);
    },
    remove: () => unmount(directory),
  };
}

/** Those of runs that were killed before they could unmount them; their directories hold the number of the process. */
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
  // Lazily: a server that is about to end may still have a file open.
  spawnSync('umount', ['--lazy', directory]);
}
