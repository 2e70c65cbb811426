import type { TaskStore } from '../store/task-store.ts';

/** Brings queues into being, asking PostgreSQL once for each that this process has not seen. */
export interface KnownQueues {
  /** @returns the first of the names that would be one queue too many, or null; throws `StoreUnavailableError` */
  ensure(names: Iterable<string>): Promise<string | null>;
}

export function createKnownQueues(store: Pick<TaskStore, 'ensureQueue'>, queuesMax: number): KnownQueues {
  const known = new Set<string>();
  return {
    async ensure(names) {
      for (const name of names) {
        if (known.has(name)) continue;
        if (!(await store.ensureQueue(name, queuesMax))) return name;
        known.add(name);
      }
      return null;
    },
  };
}
