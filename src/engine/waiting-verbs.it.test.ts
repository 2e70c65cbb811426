import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../test/harness/assets.ts';
import { afterWaitingFor } from '../../test/harness/lock-waits.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createAdminStore, createTaskStore } from '../../test/harness/task-stores.ts';
import { createTaskFixture, FIXTURE_WORKER as WORKER, type TaskFixture } from '../../test/task-fixture.ts';
import type { Outcome } from '../core/outcome.ts';
import type { TaskStatus } from '../core/task.ts';
import type { Run } from '../postgres/database.ts';

/**
 * A row that a verb waits for may be gone when the wait is over, and be in a table that the verb's snapshot does not
 * show there. Whoever waited has to answer by a fresh snapshot.
 */

let tasks: TaskFixture;
beforeAll(async () => {
  tasks = createTaskFixture(await createTestStores());
});
afterAll(() => tasks.close());

const ERROR = { name: 'Error', message: 'no' };
const COMPLETE: Outcome = { verb: 'complete', result: null };
const RETRY: Outcome = { verb: 'retry', delayMs: 0, error: ERROR, result: null };
const FAIL: Outcome = { verb: 'fail', error: ERROR, result: null };
const RELEASE: Outcome = { verb: 'release' };

/** The verbs in a transaction that is still open. */
const within = (run: Run) => ({
  ...createTaskStore({ ...tasks.database, run }, 60_000),
  ...createAdminStore({ ...tasks.database, run }),
});

type Change = (id: string) => (run: Run) => Promise<unknown>;

const settle =
  (outcome: Outcome, attempt = 1): Change =>
  (id) =>
  (run) =>
    within(run).settle(WORKER, [{ id, attempt, outcome, reason: outcome.verb === 'fail' ? 'final_error' : null }]);

const start: Change = (id) => (run) => within(run).start([id], WORKER, 3, true);
const cancel: Change = (id) => (run) => within(run).cancel(id);
const requeue: Change = (id) => (run) => within(run).requeueOne(id, 'keep');

/** Takes all tasks of the worker back, as a sweep does. */
const reclaim =
  (lostCap: number): Change =>
  () =>
  async (run) => {
    const [lease] = await run<{ pass: number }>(statementNamed('take-lease'), ['test', 3_000, 15_000, 5_000]);
    await run(statementNamed('reclaim'), ['test', lease?.pass, WORKER, lostCap, 1_000, JSON.stringify(ERROR)]);
  };

const both =
  (...changes: readonly Change[]): Change =>
  (id) =>
  async (run) => {
    for (const change of changes) await change(id)(run);
  };

/** A task whose queue keeps no completed tasks. */
async function unkeptTask(): Promise<string> {
  const id = await tasks.submit({ queue: 'unkept' });
  await tasks.start(id);
  return id;
}

async function statusOf(id: string): Promise<TaskStatus> {
  return (await tasks.row(id)).status;
}

describe('a cancel that waits', () => {
  it.each<[string, TaskStatus, Change, string, TaskStatus]>([
    ['a start', 'PENDING', start, 'requested', 'PROCESSING'],
    ['another cancel', 'PENDING', cancel, 'already', 'CANCELLED'],
    ['a cancel of a running task', 'PROCESSING', cancel, 'requested', 'PROCESSING'],
    ['a completion', 'PROCESSING', settle(COMPLETE), 'finished', 'COMPLETED'],
    ['a failure', 'PROCESSING', settle(FAIL), 'finished', 'FAILED'],
    ['an abort', 'PROCESSING', both(cancel, settle(RELEASE)), 'already', 'CANCELLED'],
    ['a retry', 'PROCESSING', settle(RETRY), 'cancelled', 'CANCELLED'],
    ['a release', 'PROCESSING', settle(RELEASE), 'cancelled', 'CANCELLED'],
    ['a release and the next start', 'PROCESSING', both(settle(RELEASE), start), 'requested', 'PROCESSING'],
    ['a reclaim', 'PROCESSING', reclaim(3), 'cancelled', 'CANCELLED'],
    ['a reclaim at the cap', 'PROCESSING', reclaim(1), 'finished', 'FAILED'],
    ['a failure and its requeue', 'PROCESSING', both(settle(FAIL), requeue), 'cancelled', 'CANCELLED'],
  ])('for %s answers by what became of the task', async (_what, from, change, verdict, status) => {
    const id = await tasks.taskIn(from);
    const answer = await afterWaitingFor(tasks.database, change(id), () => tasks.admin.cancel(id));
    expect(answer).toMatchObject({ verdict, status, queue: 'default', position: { id } });
    expect(await statusOf(id)).toBe(status);
  });

  it('for the completion of a task that is not kept answers `finished`', async () => {
    await tasks.submit({ queue: 'unkept' });
    await tasks.database.run({ name: '', text: `UPDATE queues SET keep_completed = false WHERE name = 'unkept'` }, []);
    const id = await unkeptTask();
    const answer = await afterWaitingFor(tasks.database, settle(COMPLETE)(id), () => tasks.admin.cancel(id));
    expect(answer).toMatchObject({ verdict: 'finished', status: 'COMPLETED' });
  });
});

describe('a requeue that waits', () => {
  it('for another requeue requeues nothing', async () => {
    const id = await tasks.taskIn('FAILED');
    expect(await afterWaitingFor(tasks.database, requeue(id), () => tasks.admin.requeueOne(id, 'keep'))).toBeNull();
    expect(await statusOf(id)).toBe('PENDING');
  });

  it('for another requeue, after which the task failed again, requeues it again', async () => {
    const id = await tasks.taskIn('FAILED');
    const again = both(requeue, start, settle(FAIL, 2))(id);
    const answer = await afterWaitingFor(tasks.database, again, () => tasks.admin.requeueOne(id, 'keep'));
    expect(answer).toMatchObject({ position: { id } });
    expect(await tasks.row(id)).toMatchObject({ status: 'PENDING', attempt: 2 });
  });
});

describe('a worker that gives its own attempt back and waits', () => {
  it.each<[string, Change, string | null, TaskStatus]>([
    ['a cancel request', cancel, 'abort', 'CANCELLED'],
    ['its own outcome', settle(COMPLETE), null, 'COMPLETED'],
    ['the sweeper', reclaim(3), null, 'PENDING'],
    ['the sweeper at the cap', reclaim(1), null, 'FAILED'],
  ])('for %s takes back only what it still holds', async (_what, change, verb, status) => {
    const id = await tasks.taskIn('PROCESSING');
    const giveBack = () => tasks.store.reclaimOwn(WORKER, { id, attempt: 1 }, 3, ERROR);
    const answer = await afterWaitingFor(tasks.database, change(id), giveBack);
    expect(answer === null ? null : answer.verb).toBe(verb);
    expect(await statusOf(id)).toBe(status);
  });
});

describe('progress that waits', () => {
  it.each<[string, Change, string | null]>([
    ['a cancel request', cancel, '7'],
    ['a retry', settle(RETRY), null],
    ['the next attempt', both(settle(RELEASE), start), null],
    ['a completion', settle(COMPLETE), null],
  ])('for %s is written only to the attempt that it belongs to', async (_what, change, progress) => {
    const id = await tasks.taskIn('PROCESSING');
    const record = () => tasks.store.recordProgress(WORKER, [{ id, attempt: 1, progress: '7' }]);
    await afterWaitingFor(tasks.database, change(id), record);
    const text = 'SELECT progress FROM tasks WHERE id = $1';
    expect(await tasks.database.run({ name: '', text }, [id])).toEqual([{ progress }]);
  });
});

describe('a start and a settle never wait', () => {
  it.each<[string, Change, string]>([
    ['another start', start, 'gone'],
    ['a cancel', cancel, 'gone'],
    ['a start and its release', both(start, settle(RELEASE)), 'started'],
  ])('a start during %s answers `locked`, and then by what became of the task', async (_what, change, verdict) => {
    const id = await tasks.taskIn('PENDING');
    const startIt = async () => (await tasks.store.start([id], 'other', 3, true))[0]?.verdict;
    await tasks.database.transaction(async (run) => {
      await change(id)(run);
      expect(await startIt()).toBe('locked');
    });
    expect(await startIt()).toBe(verdict);
  });

  it.each<[string, Change, string, string | null]>([
    ['its first try', settle(COMPLETE), 'already', 'complete'],
    ['a cancel request', cancel, 'settled', 'complete'],
    ['the sweeper', reclaim(3), 'stale', null],
    ['the sweeper at the cap', reclaim(1), 'stale', null],
  ])(
    'a settle during %s answers `locked`, and then by what became of the task',
    async (_what, change, verdict, verb) => {
      const id = await tasks.taskIn('PROCESSING');
      const settleIt = async () =>
        (await tasks.store.settle(WORKER, [{ id, attempt: 1, outcome: COMPLETE, reason: null }]))[0];
      await tasks.database.transaction(async (run) => {
        await change(id)(run);
        expect(await settleIt()).toMatchObject({ verdict: 'locked' });
      });
      expect(await settleIt()).toMatchObject({ verdict, verb });
    },
  );
});
