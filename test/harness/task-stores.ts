import { requestActor, type Actor } from '../../src/core/access/audit.ts';
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

type By<Verb> = Verb extends (...values: [...infer Values, Actor]) => infer Result
  ? (...values: [...Values, by?: Actor]) => Result
  : Verb;

/** The statements for operations by people: cancel, requeue and pause. Without an actor, each call has a new one. */
export type AdminStore = {
  readonly [Verb in keyof AdminVerbs]: By<AdminVerbs[Verb]>;
};
type AdminVerbs = CancelStore & RequeueStore & Pick<QueueStore, 'setPaused'>;

/** Returns an actor that has not acted before. */
export function anActor(client = 'tester'): Actor {
  return requestActor(client, '127.0.0.1', 'trace');
}

/** @param lookMax number of dead letters that one statement reads */
export function createAdminStore(database: Database, lookMax?: number): AdminStore {
  const { setPaused } = createQueueStore(database);
  const { cancel } = createCancelStore(database);
  const { requeueOne, requeueBatch, countBatch } = createRequeueStore(database, lookMax);
  return {
    cancel: (id, by = anActor()) => cancel(id, by),
    requeueOne: (id, place, by = anActor()) => requeueOne(id, place, by),
    requeueBatch: (filter, plan, progress, most, by = anActor()) => requeueBatch(filter, plan, progress, most, by),
    countBatch,
    setPaused: (queue, paused, by = anActor()) => setPaused(queue, paused, by),
  };
}
