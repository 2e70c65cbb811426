import { beforeAll, describe, expect, it } from 'vitest';
import { withRedis } from '../../../scripts/stores/redis.ts';
import { as, clientsInFiles } from '../../../test/harness/clients.ts';
import { startRedis } from '../../../test/harness/private-stores.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { deleteTasks, endTasks } from '../../../test/harness/task-rows.ts';
import { startApi, type RunningApi } from '../../../test/running-api.ts';

let stores: TestStores;
let api: RunningApi;
/** A second replica on the same stores. */
let other: RunningApi;
let serial = 0;

beforeAll(async () => {
  stores = await createTestStores();
  const env = { ...stores.env, QUEUES_MAX: '40', QUEUES_MAX_PER_ADDRESS: '30', TRUSTED_PROXIES: '127.0.0.1' };
  [api, other] = await Promise.all([startApi(env), startApi(env)]);
});

const remove = (queue: string) => api.request(`/queues/${queue}`, { method: 'DELETE' });
const post = (queue: string, one = api) => one.post('/tasks', { payload: ++serial, queue });
const keysOf = (queue: string) =>
  withRedis(stores.redisUrl, (redis) => redis.keys(`{${stores.redisPrefix}:1:${queue}}:*`));
const ready = (queue: string) =>
  withRedis(stores.redisUrl, (redis) => redis.zcard(`{${stores.redisPrefix}:1:${queue}}:ready`));

/** Makes a queue that both replicas know and that has no tasks left. */
async function unusedQueue(): Promise<string> {
  const queue = `deleted-${++serial}`;
  for (const one of [api, other]) {
    const { body } = await post(queue, one);
    await api.post(`/tasks/${body.id}/cancel`, undefined);
  }
  await api.rows(deleteTasks('queue = $1'), [queue]);
  return queue;
}

describe('DELETE /queues/{name}', () => {
  it('reports what a queue still has, and deletes it in both stores when it has nothing', async () => {
    const queue = 'emptied';
    const refused = async () => {
      const { status, body } = await remove(queue);
      return `${status} ${body.code}: ${body.detail}`;
    };
    const { body: task } = await post(queue);
    expect(await refused()).toBe('409 queue_in_use: the queue cannot be deleted: it has unfinished tasks');
    await api.rows(endTasks('FAILED', 'id = $1'), [task.id]);
    await api.rows(
      `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at) VALUES ($1, 1, $2, 2, 'final_error', '[]', now())`,
      [task.id, queue],
    );
    expect(await refused()).toContain('it has open dead letters');
    await api.rows('DELETE FROM dlq WHERE task_id = $1', [task.id]);
    expect(await refused()).toContain('it has finished tasks that are kept until their retention is over');
    await api.rows(deleteTasks('id = $1'), [task.id]);
    await api.post(`/queues/${queue}/pause`, undefined);
    expect(await refused()).toContain('it is paused');
    await api.post(`/queues/${queue}/resume`, undefined);

    expect(await keysOf(queue)).not.toEqual([]);
    const { status, body, headers } = await remove(queue);
    expect([status, body, headers.get('content-type')]).toEqual([204, '', null]);
    expect(await keysOf(queue)).toEqual([]);
    expect(await remove(queue)).toMatchObject({ status: 404, body: { code: 'queue_not_found' } });
    expect((await api.request(`/queues/${queue}`)).status).toBe(404);
    expect(await remove('default')).toMatchObject({ status: 409, body: { code: 'queue_in_use' } });
  });

  it('deletes nothing while Redis is away', async () => {
    const redis = await startRedis();
    const cut = await startApi({ ...(await createTestStores()).env, REDIS_URL: redis.url });
    const { body } = await post('stays', cut);
    await cut.rows(deleteTasks('id = $1'), [body.id]);
    await redis.stop();
    expect(await cut.request('/queues/stays', { method: 'DELETE' })).toMatchObject({
      status: 503,
      body: { code: 'redis_unavailable' },
    });
    expect(await cut.rows(`SELECT name FROM queues WHERE name = 'stays'`)).toHaveLength(1);
  });
});

describe('a submission to a queue that was deleted', () => {
  it('creates it again, although its process still knew the queue', async () => {
    const queue = await unusedQueue();
    expect((await remove(queue)).status).toBe(204);
    const replies = await Promise.all([
      ...Array.from({ length: 20 }, () => post(queue, other)),
      ...Array.from({ length: 5 }, () => post('default', other)),
      ...Array.from({ length: 5 }, () =>
        other.post('/tasks', { payload: 1, queue }, { 'idempotency-key': `back-${++serial}` }),
      ),
    ]);
    expect(replies.map(({ status }) => status)).toEqual(Array(30).fill(200));
    expect((await api.request(`/queues/${queue}`)).status).toBe(200);
    await expect.poll(() => ready(queue)).toBe(25);
    // The queue counts towards the limit of its client, like any other queue.
    expect(await api.rows('SELECT created_by FROM queues WHERE name = $1', [queue])).toEqual([
      { created_by: '127.0.0.1' },
    ]);
  });

  it('creates it again for a batch', async () => {
    const queue = await unusedQueue();
    expect((await remove(queue)).status).toBe(204);
    const tasks = [{ payload: 1 }, { payload: 2, queue }, { payload: 3, queue, idempotency_key: `k-${++serial}` }];
    expect((await other.post('/tasks/batch', { tasks })).status).toBe(200);
    await expect.poll(() => ready(queue)).toBe(2);
  });

  it('never fails and loses no task while the queue is deleted again and again', async () => {
    const queue = await unusedQueue();
    const submitted = new Set<string>();
    let deleted = 0;
    const ended = new AbortController();
    const deleting = (async () => {
      while (!ended.signal.aborted) if ((await remove(queue)).status === 204) deleted++;
    })();
    for (let round = 0; round < 30; round++) {
      const replies = await Promise.all(Array.from({ length: 4 }, (_, i) => post(queue, i % 2 === 0 ? api : other)));
      expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      for (const { body } of replies) submitted.add(body.id);
      const rows = await api.rows<{ id: string }>('SELECT id FROM tasks WHERE queue = $1', [queue]);
      expect(new Set(rows.map(({ id }) => id))).toEqual(new Set(replies.map(({ body }) => body.id)));
      expect(await api.rows('SELECT FROM queues WHERE name = $1', [queue])).toHaveLength(1);
      await api.rows(deleteTasks('queue = $1'), [queue]);
    }
    ended.abort();
    await deleting;
    expect(submitted.size).toBe(120);
    expect(deleted).toBeGreaterThan(0);
  });
});

describe('one client', () => {
  it('cannot use up the limit of all clients, and is told which limit it has reached', async () => {
    const flood = (from: string, count: number) =>
      api.post(
        '/tasks/batch',
        { tasks: Array.from({ length: count }, () => ({ payload: 1, queue: `flood-${++serial}` })) },
        { 'x-forwarded-for': from },
      );
    const [before] = await api.rows<{ count: number }>('SELECT count(*)::int AS count FROM queues');
    const refused = await flood('2001:db8::1', 31);
    expect(refused).toMatchObject({ status: 422, body: { code: 'queues_exceeded' } });
    expect(refused.body.detail).toContain('QUEUES_MAX_PER_ADDRESS');
    expect((await flood('2001:db8::1', 30)).status).toBe(200);
    // Addresses of one network count as one client, as for the rate limit.
    expect((await flood('2001:db8::2', 1)).body.detail).toContain('QUEUES_MAX_PER_ADDRESS');
    const left = 40 - 30 - (before?.count ?? 0);
    expect((await flood('2001:db8:1::1', left)).status).toBe(200);
    const full = await flood('2001:db8:1::1', 1);
    expect([full.status, full.body.detail]).toEqual([422, expect.stringMatching(/\(QUEUES_MAX\)$/)]);
  });

  it('is counted by its name where keys are needed, whatever address it sends from', async () => {
    const keys = clientsInFiles({ shop: {}, mail: {} });
    const env = {
      ...(await createTestStores()).env,
      ...keys,
      QUEUES_MAX_PER_ADDRESS: '2',
      TRUSTED_PROXIES: '127.0.0.1',
    };
    const guarded = await startApi(env);
    const submit = (name: string, from: string) =>
      guarded.post('/tasks', { payload: 1, queue: `of-${++serial}` }, { ...as(name), 'x-forwarded-for': from });
    const statuses = [
      await submit('shop', '203.0.113.1'),
      await submit('shop', '203.0.113.2'),
      await submit('shop', '203.0.113.3'),
      await submit('mail', '203.0.113.1'),
    ].map(({ status }) => status);
    expect(statuses).toEqual([200, 200, 422, 200]);
    const [creators] = await guarded.rows<{ names: string[] }>(
      'SELECT array_agg(DISTINCT created_by ORDER BY created_by) AS names FROM queues WHERE created_by IS NOT NULL',
    );
    expect(creators?.names).toEqual(['client:mail', 'client:shop']);
  });
});
