import { WAITING_STATUSES, type TaskStatus } from '../../core/task.ts';
import type { TaskStates } from '../order/task-states.ts';

/**
 * For how long tasks have been ready, in milliseconds: for each list of ids the longest, 0 if none of them waits any more, null
 * for an empty list. A place does not tell it: a task keeps its place over retries and requeues, and one that was put off has
 * that of its submission. Hence PostgreSQL is asked, by key. Throws `StoreUnavailableError`.
 */
export type ReadyAges = (idsOfQueues: readonly (readonly string[])[]) => Promise<(number | null)[]>;

const WAITING: ReadonlySet<TaskStatus> = new Set(WAITING_STATUSES);

export function createReadyAges(store: TaskStates): ReadyAges {
  return async (idsOfQueues) => {
    const ids = idsOfQueues.flat();
    const states = ids.length === 0 ? new Map<string, never>() : await store.statusesOf(ids);
    return idsOfQueues.map((ofQueue) => {
      if (ofQueue.length === 0) return null;
      const ages = ofQueue.map((id) => {
        const state = states.get(id);
        return state !== undefined && WAITING.has(state.status) ? -state.waitMs : 0;
      });
      return Math.max(0, ...ages);
    });
  };
}
