import { beforeAll, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { deleteTasks, endTasks } from '../../../test/harness/task-rows.ts';
import { anActor, createTaskStore } from '../../../test/harness/task-stores.ts';
import { QueuesMissingError } from '../../core/errors.ts';
import { createQueueStore, type QueueStore } from './queue-store.ts';

let parts: TestParts;
let queues: QueueStore;
let serial = 0;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  queues = createQueueStore(parts.database);
});

const sql = <Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> =>
  parts.database.run<Row>({ name: '', text }, values);
const forget = async (): Promise<void> => {};

async function newQueue(): Promise<string> {
  const name = `queue-${++serial}`;
  await parts.store.submitAll([], { names: [name], most: 1_000 });
  return name;
}

const submissionTo = (queue: string) => ({ task: parts.newTask({ queue }), idempotency: null });
const exists = async (name: string): Promise<boolean> =>
  (await sql('SELECT FROM queues WHERE name = $1', [name])).length === 1;
const tasksOf = (queue: string) => sql<{ id: string }>('SELECT id FROM tasks WHERE queue = $1', [queue]);
const waitingForLocks = () =>
  sql(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`);

describe('a submission and a deletion at the same time', () => {
  it('a submission that is not committed yet keeps its queue', async () => {
    const queue = await newQueue();
    await parts.database.transaction(async (run) => {
      await createTaskStore({ ...parts.database, run }, 1_000).submit([submissionTo(queue)]);
      // Neither call sees the task, but both find the row of the queue locked.
      expect(await queues.deleteQueue(queue, forget, anActor())).toBe('in_use');
      expect(await queues.deleteUnused(queue, Date.now(), forget)).toBe('in_use');
    });
    expect(await queues.deleteQueue(queue, forget, anActor())).toBe('unfinished');
    expect(await queues.deleteUnused(queue, Date.now(), forget)).toBe('in_use');
    expect([await exists(queue), await tasksOf(queue)]).toMatchObject([true, [{}]]);
  });

  it.each(['commits', 'rolls back'])('a submission waits for a deletion that %s', async (how) => {
    const queue = await newQueue();
    const held = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const deletion = queues.deleteQueue(
      queue,
      () => {
        reached.resolve();
        return held.promise;
      },
      anActor(),
    );
    const ended = deletion.then(String, () => 'failed');
    await reached.promise;
    // The row of the queue is deleted, but the deletion is not committed yet.
    const submission = submissionTo(queue);
    const submitted = parts.store.submit([submission]).then(
      ([result]) => result?.kind,
      (error: unknown) => error,
    );
    await expect.poll(waitingForLocks).toHaveLength(1);
    if (how === 'commits') held.resolve();
    else held.reject(new Error('Redis is away'));
    expect(await ended).toBe(how === 'commits' ? 'null' : 'failed');

    if (how === 'rolls back') {
      expect([await submitted, await exists(queue)]).toEqual(['created', true]);
      return;
    }
    const error = await submitted;
    expect(error).toBeInstanceOf(QueuesMissingError);
    expect(error).toMatchObject({ queues: [queue] });
    expect([await exists(queue), await tasksOf(queue)]).toEqual([false, []]);
    // The same submission succeeds when it also creates the queue again.
    const again = await parts.store.submitAll([submission], { names: [queue], most: 1_000 });
    expect([again[0]?.kind, await exists(queue), await tasksOf(queue)]).toMatchObject(['created', true, [{}]]);
  });

  it('a batch stores no task and no key if one of its queues is missing', async () => {
    const [kept, gone] = [await newQueue(), await newQueue()];
    expect(await queues.deleteQueue(gone, forget, anActor())).toBeNull();
    const keyed = {
      task: parts.newTask({ queue: kept }),
      idempotency: { key: 'of-a-batch', requestHash: Buffer.of(1), answer: '{}' },
    };
    for (const submit of [parts.store.submit, parts.store.submitAll])
      await expect(submit([keyed, submissionTo(gone)])).rejects.toMatchObject({ queues: [gone] });
    expect(await tasksOf(kept)).toEqual([]);
    expect(await sql(`SELECT FROM idempotency_keys WHERE key = 'of-a-batch'`)).toEqual([]);
  });
});

describe('deleteQueue', () => {
  it('keeps a paused queue, and the default queue', async () => {
    const queue = await newQueue();
    await sql('UPDATE queues SET paused = true WHERE name = $1', [queue]);
    expect(await queues.deleteQueue(queue, forget, anActor())).toBe('paused');
    expect(await queues.deleteUnused(queue, Date.now(), forget)).toBe('in_use');
    expect(await queues.deleteQueue('default', forget, anActor())).toBe('default');
    expect(await queues.deleteUnused('default', Date.now(), forget)).toBe('in_use');
    expect(await queues.deleteQueue('unknown', forget, anActor())).toBe('unknown');
  });

  it('also finds very old tasks', async () => {
    const queue = await newQueue();
    const { task } = submissionTo(queue);
    const old = { ...task, id: `00${task.id.slice(2)}` };
    await parts.store.submit([{ task: old, idempotency: null }]);
    await sql(endTasks('COMPLETED', 'id = $1'), [old.id]);
    expect(await queues.deleteQueue(queue, forget, anActor())).toBe('kept');
    await sql(deleteTasks('id = $1'), [old.id]);
    expect(await queues.deleteQueue(queue, forget, anActor())).toBeNull();
  });
});

describe('the limit of one client', () => {
  it('counts the queues that it has created, without those of others and deleted ones', async () => {
    const make = (createdBy: string | null, ...names: string[]) =>
      parts.store.submitAll([], { names, most: 1_000, createdBy, mostOfCreator: 2 });
    await make('192.0.2.1', 'of-one-a', 'of-one-b');
    await expect(make('192.0.2.1', 'of-one-c')).rejects.toMatchObject({ queue: 'of-one-c', bound: 'client' });
    await make('192.0.2.2', 'of-two-a');
    // Existing queues are not created, so they do not count.
    await make('192.0.2.1', 'of-two-a', 'of-one-a');
    await make(null, 'of-nobody-a', 'of-nobody-b', 'of-nobody-c');
    expect(await queues.deleteQueue('of-one-a', forget, anActor())).toBeNull();
    await make('192.0.2.1', 'of-one-c');
    // Queues are created all or none.
    await expect(make('192.0.2.2', 'of-two-b', 'of-two-c')).rejects.toMatchObject({ bound: 'client' });
    expect(await exists('of-two-b')).toBe(false);
  });
});
