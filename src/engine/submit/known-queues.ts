import { DEFAULT_QUEUE } from '../../core/task.ts';
import type { NewQueues } from './new-queues.ts';

/** The queues that this process has seen in PostgreSQL: submissions to others have to make them. */
export interface KnownQueues {
  has(name: string): boolean;
  /** Those of the names that were not seen yet. @param client who brings them into being */
  unknownOf(names: Iterable<string>, client: string | null): NewQueues;
  add(names: Iterable<string>): void;
  /** They have been deleted. */
  forget(names: Iterable<string>): void;
}

/** @param maxPerClient 0 is any number */
export function createKnownQueues(max: number, maxPerClient: number): KnownQueues {
  const known = new Set<string>([DEFAULT_QUEUE]);
  return {
    has: (name) => known.has(name),
    unknownOf: (names, client) => ({
      names: [...new Set(names).difference(known)],
      most: max,
      createdBy: client,
      mostOfCreator: maxPerClient,
    }),
    add(names) {
      for (const name of names) {
        // More than can exist at a time: most of them have been deleted by others.
        if (known.size > max) {
          known.clear();
          known.add(DEFAULT_QUEUE);
        }
        known.add(name);
      }
    },
    forget(names) {
      for (const name of names) if (name !== DEFAULT_QUEUE) known.delete(name);
    },
  };
}
