import { createAttemptStore, type AttemptStore } from '../../src/engine/attempts/attempt-store.ts';
import { createCancelStore, type CancelStore } from '../../src/engine/cancel/cancel-store.ts';
import { createSubmitStore, type SubmitStore } from '../../src/engine/submit/submit-store.ts';
import { createRequeueStore, type RequeueStore } from '../../src/features/dlq/requeue-store.ts';
import { createQueueStore, type QueueStore } from '../../src/features/queues/queue-store.ts';
import type { Database } from '../../src/postgres/database.ts';

/** The statements for submission and for attempts in one object, because tests follow a task through both. */
export type TaskStore = SubmitStore & AttemptStore;

export function createTaskStore(database: Database, keyTtlMs: number): TaskStore {
  return { ...createSubmitStore(database, keyTtlMs), ...createAttemptStore(database) };
}

/** The statements for operations by people: cancel, requeue and pause. */
export type AdminStore = CancelStore & RequeueStore & Pick<QueueStore, 'setPaused'>;

/** @param lookMax number of dead letters that one statement reads */
export function createAdminStore(database: Database, lookMax?: number): AdminStore {
  const { setPaused } = createQueueStore(database);
  return { ...createCancelStore(database), ...createRequeueStore(database, lookMax), setPaused };
}
