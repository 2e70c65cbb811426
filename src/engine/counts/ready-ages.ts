import { WAITING_STATUSES, type TaskStatus } from '../../core/task.ts';
import type { TaskStates } from '../order/task-states.ts';

/**
 * Returns for each list of ids how long its longest-waiting task has been ready, in milliseconds. The result is 0 if
 * none of the tasks is waiting any more, and null for an empty list.
 * This reads PostgreSQL by primary key, because a place does not show how long a task has been ready: a task keeps
 * its place over retries and requeues, and the place of a delayed task is that of its submission.
 * @throws StoreUnavailableError
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
