import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../test/api-fixture.ts';
import { FIXTURE_WORKER as WORKER, type TaskFixture } from '../../test/task-fixture.ts';
import type { Outcome } from '../core/outcome.ts';
import type { NewTask, TaskStatus } from '../core/task.ts';
import type { Settlement } from './attempts/attempt-store.ts';
import { createTaskStates } from './order/task-states.ts';

let api: ApiFixture;
let tasks: TaskFixture;
const QUEUE = 'unkept';

beforeAll(async () => {
  api = await createApiFixture();
  ({ tasks } = api);
  await tasks.submit({ queue: QUEUE });
  await sql(`UPDATE queues SET keep_completed = false WHERE name = $1`, [QUEUE]);
});

function sql<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
  return tasks.database.run<Row>({ name: '', text }, values);
}

const ERROR = { name: 'Error', message: 'no' };
const COMPLETE: Outcome = { verb: 'complete', result: '1' };
const RETRY: Outcome = { verb: 'retry', delayMs: 0, error: ERROR, result: null };
const FAIL: Outcome = { verb: 'fail', error: ERROR, result: null };

const settlement = (id: string, attempt: number, outcome: Outcome): Settlement => ({
  id,
  attempt,
  outcome,
  reason: outcome.verb === 'fail' ? 'final_error' : null,
});

async function settle(id: string, attempt: number, outcome: Outcome, worker = WORKER) {
  const [result] = await tasks.store.settle(worker, [settlement(id, attempt, outcome)]);
  return { verdict: result?.verdict, verb: result?.verb };
}

const taskIn = (status: TaskStatus, changes: Partial<NewTask> = {}) =>
  tasks.taskIn(status, { queue: QUEUE, ...changes });

/** The number of rows that each table has of a task. */
async function rowsOf(id: string): Promise<Record<string, number>> {
  const [row] = await sql<Record<string, number>>(
    `SELECT (SELECT count(*)::int FROM submissions WHERE id = $1) AS submissions,
            (SELECT count(*)::int FROM unfinished WHERE id = $1) AS unfinished,
            (SELECT count(*)::int FROM finished WHERE id = $1) AS finished,
            (SELECT count(*)::int FROM attempts WHERE task_id = $1) AS attempts,
            (SELECT count(*)::int FROM dlq WHERE task_id = $1) AS dlq`,
    [id],
  );
  return row as Record<string, number>;
}

const ONLY_ASKED = { submissions: 1, unfinished: 0, finished: 0, attempts: 0, dlq: 0 };

describe('a queue that keeps no completed tasks', () => {
  it('gives its setting to the tasks that are submitted from then on, and to no others', async () => {
    const kept = await tasks.submit({ queue: 'changes' });
    await sql(`UPDATE queues SET keep_completed = false WHERE name = 'changes'`);
    const [unkept, other] = [await tasks.submit({ queue: 'changes' }), await tasks.submit()];
    await sql(`UPDATE queues SET keep_completed = true WHERE name = 'changes'`);
    const settings = await sql(
      `SELECT s.id, s.keep_completed AS asked, u.keep_completed AS open FROM submissions s JOIN unfinished u USING (id)
       WHERE id = ANY ($1::uuid[]) ORDER BY id`,
      [[kept, unkept, other]],
    );
    expect(settings).toEqual([
      { id: kept, asked: true, open: true },
      { id: unkept, asked: false, open: false },
      { id: other, asked: true, open: true },
    ]);
    for (const id of [kept, unkept, other]) {
      await tasks.start(id);
      await settle(id, 1, COMPLETE);
    }
    expect(await rowsOf(kept)).toEqual({ ...ONLY_ASKED, finished: 1 });
    expect(await rowsOf(unkept)).toEqual(ONLY_ASKED);
    expect(await rowsOf(other)).toEqual({ ...ONLY_ASKED, finished: 1 });
  });

  it('leaves only the submission of a completed task, which is COMPLETED for everybody', async () => {
    const id = await taskIn('COMPLETED', { payload: '{"a":1}', metadata: { customer: '4711' } });
    expect(await rowsOf(id)).toEqual(ONLY_ASKED);
    expect(await sql('SELECT status, finished_at, payload FROM tasks WHERE id = $1', [id])).toEqual([
      { status: 'COMPLETED', finished_at: null, payload: '{"a":1}' },
    ]);
    const { status, body } = await api.get(`/tasks/${id}`);
    expect([status, body]).toMatchObject([
      200,
      {
        id,
        status: 'COMPLETED',
        payload: { a: 1 },
        metadata: { customer: '4711' },
        worker_id: null,
        finished_at: null,
      },
    ]);
    expect((await createTaskStates(tasks.database.run).statusesOf([id])).get(id)).toMatchObject({
      status: 'COMPLETED',
      queue: QUEUE,
      workerId: null,
    });
    const listed = await api.get(`/tasks?queue=${QUEUE}&status=COMPLETED`);
    expect(listed.body.items).toContainEqual(expect.objectContaining({ id, status: 'COMPLETED' }));
  });

  it('answers every repeated and late call as for a completed task', async () => {
    const id = await taskIn('COMPLETED');
    expect(await settle(id, 1, COMPLETE)).toEqual({ verdict: 'already', verb: 'complete' });
    for (const outcome of [RETRY, FAIL, { verb: 'release' } as const])
      expect(await settle(id, 1, outcome)).toMatchObject({ verdict: 'stale' });
    expect((await tasks.store.start([id], WORKER, 3, true)).map(({ verdict }) => verdict)).toEqual(['gone']);
    expect(await tasks.admin.cancel(id)).toMatchObject({ verdict: 'finished', status: 'COMPLETED', queue: QUEUE });
    expect((await api.post(`/tasks/${id}/cancel`)).body).toMatchObject({ code: 'not_cancellable' });
    expect(await tasks.admin.requeueOne(id, 'keep')).toBeNull();
    expect((await api.post(`/dlq/${id}/requeue`)).body).toMatchObject({ code: 'not_requeueable' });
    expect(await tasks.store.reclaimOwn(WORKER, { id, attempt: 1 }, 3, ERROR)).toBeNull();
    expect(await tasks.store.holdings(WORKER)).not.toContainEqual(expect.objectContaining({ id }));
    await tasks.store.recordProgress(WORKER, [{ id, attempt: 1, progress: '1' }]);
    await tasks.submit({ id, queue: QUEUE });
    expect(await rowsOf(id)).toEqual(ONLY_ASKED);
  });

  it('calls no outcome of an earlier attempt a repeated completion', async () => {
    const id = await taskIn('PROCESSING');
    await settle(id, 1, RETRY);
    await tasks.start(id);
    expect(await settle(id, 1, COMPLETE)).toEqual({ verdict: 'already', verb: 'retry' });
    expect(await settle(id, 1, COMPLETE, 'another')).toMatchObject({ verdict: 'stale' });
    await settle(id, 2, COMPLETE);
    expect(await settle(id, 1, COMPLETE)).toEqual({ verdict: 'already', verb: 'retry' });
    expect(await settle(id, 1, COMPLETE, 'another')).toMatchObject({ verdict: 'stale' });
    expect(await settle(id, 2, COMPLETE)).toEqual({ verdict: 'already', verb: 'complete' });
    expect(await rowsOf(id)).toEqual({ ...ONLY_ASKED, attempts: 1 });
  });

  it('calls the completion of a lost attempt stale', async () => {
    const id = await taskIn('PROCESSING');
    await tasks.store.reclaimOwn(WORKER, { id, attempt: 1 }, 3, ERROR);
    await tasks.store.start([id], 'successor', 3, true);
    await settle(id, 2, COMPLETE, 'successor');
    expect(await settle(id, 1, COMPLETE)).toEqual({ verdict: 'stale', verb: null });
    expect(await settle(id, 2, COMPLETE, 'successor')).toEqual({ verdict: 'already', verb: 'complete' });
  });

  it('keeps retries, failures and dead letters as everywhere, through a requeue to the completion', async () => {
    const id = await taskIn('PROCESSING');
    await settle(id, 1, RETRY);
    expect(await tasks.row(id)).toMatchObject({ status: 'SCHEDULED', attempt: 1, failures: 1 });
    await tasks.start(id);
    await settle(id, 2, FAIL);
    expect(await tasks.row(id)).toMatchObject({ status: 'FAILED', attempt: 2, failures: 2 });
    expect(await settle(id, 2, FAIL)).toEqual({ verdict: 'already', verb: 'fail' });
    expect(await settle(id, 2, COMPLETE)).toEqual({ verdict: 'already', verb: 'fail' });
    expect(await rowsOf(id)).toEqual({ ...ONLY_ASKED, finished: 1, attempts: 1, dlq: 1 });
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({ status: 'FAILED', attempt: 2 });

    expect(await tasks.admin.requeueOne(id, 'keep')).toMatchObject({ queue: QUEUE });
    expect(await rowsOf(id)).toEqual({ ...ONLY_ASKED, unfinished: 1, attempts: 2, dlq: 1 });
    await tasks.start(id);
    expect(await settle(id, 3, COMPLETE)).toEqual({ verdict: 'settled', verb: 'complete' });
    expect(await rowsOf(id)).toEqual({ ...ONLY_ASKED, attempts: 2, dlq: 1 });
    expect(await tasks.row(id)).toMatchObject({ status: 'COMPLETED' });
  });

  it('keeps what was cancelled', async () => {
    const [waiting, running] = [await taskIn('CANCELLED'), await taskIn('PROCESSING')];
    await tasks.admin.cancel(running);
    expect(await settle(running, 1, { verb: 'release' })).toEqual({ verdict: 'settled', verb: 'abort' });
    for (const id of [waiting, running]) {
      expect(await rowsOf(id)).toEqual({ ...ONLY_ASKED, finished: 1 });
      expect(await tasks.admin.cancel(id)).toMatchObject({ verdict: 'already', status: 'CANCELLED' });
    }
  });
});
