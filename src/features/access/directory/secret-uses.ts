import type { Clock } from '../../../core/clock.ts';
import type { DirectoryStore } from './directory-store.ts';

/** Collects the last uses of secrets, and writes them together. */
export function createSecretUses(store: Pick<DirectoryStore, 'noteUses'>, clock: Pick<Clock, 'monotonicMs'>) {
  let used = new Map<string, number>();
  let writtenMs = clock.monotonicMs();
  return {
    note(id: string, atMs: number): void {
      used.set(id, atMs);
    },
    /** Writes the uses unless they were written less than `everyMs` ago. */
    async write(everyMs: number): Promise<void> {
      const nowMs = clock.monotonicMs();
      if (used.size === 0 || nowMs - writtenMs < everyMs) return;
      writtenMs = nowMs;
      const writing = used;
      used = new Map();
      try {
        await store.noteUses([...writing].map(([id, atMs]) => ({ id, ageMs: nowMs - atMs })));
      } catch (error) {
        // The next writing has them, unless they were used again meanwhile.
        used = new Map([...writing, ...used]);
        throw error;
      }
    },
  };
}
