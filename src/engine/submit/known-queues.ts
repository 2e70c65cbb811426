import { DEFAULT_QUEUE } from '../../core/task.ts';
import type { NewQueues } from './new-queues.ts';

/** The queues that this process has seen in PostgreSQL. A submission to any other queue has to create it. */
export interface KnownQueues {
  has(name: string): boolean;
  /** Returns the names that are not known yet. @param client the client that creates these queues */
  unknownOf(names: Iterable<string>, client: string | null): NewQueues;
  add(names: Iterable<string>): void;
  /** Removes queues that have been deleted. */
  forget(names: Iterable<string>): void;
}

/** @param maxPerClient 0 means no limit */
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
        // More queues than can exist at the same time: other processes have deleted some of them. Start over.
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
