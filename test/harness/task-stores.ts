import { createAttemptStore, type AttemptStore } from '../../src/engine/attempts/attempt-store.ts';
import { createCancelStore, type CancelStore } from '../../src/engine/cancel/cancel-store.ts';
import { createSubmitStore, type SubmitStore } from '../../src/engine/submit/submit-store.ts';
import { createRequeueStore, type RequeueStore } from '../../src/features/dlq/requeue-store.ts';
import { createQueueStore, type QueueStore } from '../../src/features/queues/queue-store.ts';
import type { Database } from '../../src/postgres/database.ts';

/** What a task goes through, in one object: tests follow tasks from room to room. */
export type TaskStore = SubmitStore & AttemptStore;

export function createTaskStore(database: Database, keyTtlMs: number): TaskStore {
  return { ...createSubmitStore(database, keyTtlMs), ...createAttemptStore(database) };
}

/** What people do to tasks and queues. */
export type AdminStore = CancelStore & RequeueStore & Pick<QueueStore, 'setPaused'>;

/** @param lookMax dead letters that one statement looks at */
export function createAdminStore(database: Database, lookMax?: number): AdminStore {
  const { setPaused } = createQueueStore(database);
  return { ...createCancelStore(database), ...createRequeueStore(database, lookMax), setPaused };
}
