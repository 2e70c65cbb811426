import type { NewQueues } from '../store/task-store.ts';

/** The queues that this process has seen in PostgreSQL: submissions to others have to make them. */
export interface KnownQueues {
  has(name: string): boolean;
  /** Those of the names that were not seen yet. */
  unknownOf(names: Iterable<string>): NewQueues;
  add(names: Iterable<string>): void;
}

export function createKnownQueues(queuesMax: number): KnownQueues {
  // The schema comes with it.
  const known = new Set(['default']);
  return {
    has: (name) => known.has(name),
    unknownOf: (names) => ({ names: [...new Set(names).difference(known)], most: queuesMax }),
    add(names) {
      for (const name of names) known.add(name);
    },
  };
}
