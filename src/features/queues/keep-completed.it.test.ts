import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { deleteTasks } from '../../../test/harness/task-rows.ts';
import { anActor } from '../../../test/harness/task-stores.ts';
import { createQueueStore } from './queue-store.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

const rows = <Row extends object>(text: string, values: unknown[]): Promise<Row[]> =>
  api.tasks.database.run<Row>({ name: '', text }, values);

/** Makes a queue that keeps no completed tasks. */
async function forgetfulQueue(name: string): Promise<string> {
  await api.tasks.store.submitAll([], { names: [name], most: 1_000 });
  expect(await api.put(`/queues/${name}`, { keep_completed: false })).toMatchObject({ status: 200 });
  return name;
}

const idsOf = async (query: string): Promise<string[]> =>
  ((await api.get(`/tasks?${query}`)).body.items as { id: string }[]).map(({ id }) => id);

describe('PUT /queues/{name}', () => {
  it('changes whether completed tasks are kept, and can be repeated', async () => {
    const name = await forgetfulQueue('forgets');
    const stored = () =>
      rows<{ version: number; used_at: Date }>('SELECT version, used_at FROM queues WHERE name = $1', [name]);
    const [first] = await stored();
    expect(first?.version).toBe(2);
    const answer = { name, paused: false, keep_completed: false, counts: { ready: 0 } };
    expect(await api.put(`/queues/${name}`, { keep_completed: false })).toMatchObject({ status: 200, body: answer });
    expect(await stored()).toEqual([first]);
    expect((await api.get(`/queues/${name}`)).body).toMatchObject(answer);
    expect((await api.get('/queues')).body.items).toContainEqual(
      expect.objectContaining({ name, keep_completed: false }),
    );

    expect((await api.put(`/queues/${name}`, { keep_completed: true })).body).toMatchObject({ keep_completed: true });
    const [last] = await stored();
    expect(last?.version).toBe(3);
    expect(last?.used_at.getTime()).toBeGreaterThan(first?.used_at.getTime() ?? 0);
  });

  it('leaves a pause as it is', async () => {
    const name = await forgetfulQueue('both');
    expect((await api.post(`/queues/${name}/pause`)).body).toMatchObject({ paused: true, keep_completed: false });
    expect((await api.put(`/queues/${name}`, { keep_completed: true })).body).toMatchObject({ paused: true });
    expect((await api.queue.counts(name)).paused).toBe(true);
  });

  it('does not create queues', async () => {
    expect(await api.put('/queues/unknown', { keep_completed: false })).toMatchObject({
      status: 404,
      body: { code: 'queue_not_found' },
    });
    expect((await api.get('/queues/unknown')).status).toBe(404);
  });

  it.each([[{}], [{ keep_completed: 'no' }], [{ keep_completed: null }], [{ keep_completed: true, paused: true }]])(
    'refuses %j',
    async (body) => {
      expect(await api.put('/queues/default', body)).toMatchObject({ status: 422, body: { code: 'invalid_request' } });
    },
  );
});

describe('a queue that keeps no completed tasks', () => {
  it('leaves of a completed task what was submitted, its status and its earlier executions', async () => {
    const queue = await forgetfulQueue('leaves');
    const id = await api.tasks.submit({ queue, action: 'mail', payload: '{"n":1}', metadata: { team: 'a' } });
    await api.tasks.start(id);
    await api.tasks.settle(id, { verb: 'release' });
    await api.tasks.start(id);
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({ status: 'PROCESSING', kept: true, attempt: 2 });
    await api.tasks.settle(id, { verb: 'complete', result: '[1]' });
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({
      id,
      queue,
      action: 'mail',
      payload: { n: 1 },
      metadata: { team: 'a' },
      status: 'COMPLETED',
      kept: false,
      attempt: null,
      failures: null,
      lost: null,
      progress: null,
      cancel_requested: null,
      worker_id: null,
      started_at: null,
      finished_at: null,
      attempts: [{ attempt: 1, outcome: 'RELEASED' }],
    });
    expect((await api.get(`/tasks/${id}/logs`)).body.items).toMatchObject([{ attempt: 1 }]);
    expect(await api.post(`/tasks/${id}/cancel`)).toMatchObject({ status: 409, body: { code: 'not_cancellable' } });
    expect(await api.post(`/dlq/${id}/requeue`)).toMatchObject({ status: 409, body: { code: 'not_requeueable' } });
  });

  it('shows each task once in the lists of its status, among kept tasks', async () => {
    const queue = await forgetfulQueue('lists');
    const kept = await api.tasks.taskIn('COMPLETED', { traceId: 'lists' });
    const forgotten = await api.tasks.taskIn('COMPLETED', { queue, traceId: 'lists' });
    const failed = await api.tasks.taskIn('FAILED', { queue, traceId: 'lists' });
    const cancelled = await api.tasks.taskIn('CANCELLED', { queue, traceId: 'lists' });
    const waiting = await api.tasks.taskIn('PENDING', { queue, traceId: 'lists' });
    const running = await api.tasks.taskIn('PROCESSING', { queue, traceId: 'lists' });
    const found = (statuses: string) => idsOf(`trace_id=lists&status=${statuses}`);
    expect(await idsOf('trace_id=lists')).toEqual([running, waiting, cancelled, failed, forgotten, kept]);
    expect(await found('COMPLETED')).toEqual([forgotten, kept]);
    expect(await found('COMPLETED,FAILED,CANCELLED')).toEqual([cancelled, failed, forgotten, kept]);
    expect(await found('PENDING,COMPLETED')).toEqual([waiting, forgotten, kept]);
    expect(await found('FAILED,PROCESSING')).toEqual([running, failed]);
    expect(await idsOf(`queue=${queue}&status=COMPLETED`)).toEqual([forgotten]);
    expect(await idsOf(`queue=${queue}&status=COMPLETED,FAILED&limit=1`)).toEqual([failed]);
  });

  it('keeps tasks that were submitted before, also when they are requeued', async () => {
    const queue = 'changes';
    const before = await api.tasks.submit({ queue });
    const failed = await api.tasks.taskIn('FAILED', { queue });
    await forgetfulQueue(queue);
    const after = await api.tasks.submit({ queue });
    await api.put(`/queues/${queue}`, { keep_completed: true });
    expect((await api.post(`/dlq/${failed}/requeue`)).body).toMatchObject({ requeued: true });
    for (const id of [before, failed, after]) {
      await api.tasks.start(id);
      await api.tasks.settle(id, { verb: 'complete', result: null });
    }
    const kept = async (id: string) => (await api.get(`/tasks/${id}`)).body['kept'];
    expect([await kept(before), await kept(failed), await kept(after)]).toEqual([true, true, false]);
  });

  it('has tasks as long as their submissions are kept', async () => {
    const queue = await forgetfulQueue('deleted');
    const id = await api.tasks.taskIn('COMPLETED', { queue });
    const { deleteQueue, deleteUnused, unusedQueues } = createQueueStore(api.tasks.database);
    const forget = async (): Promise<void> => {};
    expect(await deleteQueue(queue, forget, anActor())).toBe('kept');
    await rows(deleteTasks('id = $1'), [id]);
    // Its expiry would lose the setting.
    await rows(`UPDATE queues SET used_at = now() - interval '1 year' WHERE name = $1`, [queue]);
    expect(await unusedQueues(api.databaseNowMs())).not.toContain(queue);
    expect(await deleteUnused(queue, api.databaseNowMs(), forget)).toBe('in_use');
    expect(await deleteQueue(queue, forget, anActor())).toBeNull();
  });
});
