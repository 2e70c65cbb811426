import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { startRedis } from '../../../test/harness/private-stores.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

/** Changes a waiting task so that it has been ready for that many seconds. */
async function readyFor(id: string, seconds: number): Promise<void> {
  await withConnection(api.databaseUrl, (client) =>
    client.query(`UPDATE unfinished SET run_at = clock_timestamp() - $2::float8 * interval '1 second' WHERE id = $1`, [
      id,
      seconds,
    ]),
  );
}

describe('GET /queues', () => {
  it('shows every queue with its counts and the age of its oldest ready task', async () => {
    const id = await api.tasks.submit({ queue: 'busy' });
    await readyFor(id, 60);
    await api.enqueue('busy', id);
    await api.queue.enqueue('busy', [
      { position: api.position(await api.tasks.submit({ queue: 'busy' })), waitMs: 60_000 },
    ]);
    const { status, body } = await api.get('/queues');
    expect(status).toBe(200);
    expect(body['counted']).toBe(true);
    expect(body.items).toEqual([
      {
        name: 'busy',
        paused: false,
        keep_completed: true,
        workers: 0,
        counts: { ready: 1, due: 0, delayed: 1, inflight: 0 },
        oldest_ready_age: expect.any(Number),
      },
      {
        name: 'default',
        paused: false,
        keep_completed: true,
        workers: 0,
        counts: { ready: 0, due: 0, delayed: 0, inflight: 0 },
        oldest_ready_age: null,
      },
    ]);
    const [busy] = body.items as { oldest_ready_age: number }[];
    // Like all times of the API, the age is rounded to a millisecond.
    expect(busy?.oldest_ready_age).toBe(Math.round((busy?.oldest_ready_age ?? 0) * 1_000) / 1_000);
    expect(busy?.oldest_ready_age).toBeGreaterThanOrEqual(60);
    expect(busy?.oldest_ready_age).toBeLessThan(120);
  });

  it('measures the age from when a task became ready, independent of its place', async () => {
    const dayMs = 86_400_000;
    // A requeued task keeps its place of a day ago, like a retried or delayed task.
    const requeued = await api.tasks.taskIn('FAILED', { queue: 'moved', id: api.idAt(api.databaseNowMs() - dayMs) });
    expect((await api.post(`/dlq/${requeued}/requeue`)).body).toMatchObject({ requeued: true });
    const ageOf = async (name: string) => (await api.get(`/queues/${name}`)).body['oldest_ready_age'] as number;
    expect(await ageOf('moved')).toBeLessThan(60);

    // A task behind it has been ready for longer.
    const waiting = await api.tasks.submit({ queue: 'moved' });
    await api.enqueue('moved', waiting);
    await readyFor(waiting, 600);
    const age = await ageOf('moved');
    expect(age).toBeGreaterThanOrEqual(600);
    expect(age).toBeLessThan(660);

    // A task that has been started does not count any more.
    await api.tasks.start(waiting);
    expect(await ageOf('moved')).toBeLessThan(60);
  });

  it('takes no parameters', async () => {
    expect((await api.get('/queues?limit=1')).status).toBe(422);
  });
});

describe('GET /queues/{name}', () => {
  it('shows one queue', async () => {
    expect(await api.get('/queues/default')).toMatchObject({
      status: 200,
      body: { name: 'default', paused: false, counts: { ready: 0 } },
    });
    expect(await api.get('/queues/unknown')).toMatchObject({ status: 404, body: { code: 'queue_not_found' } });
  });

  it('refuses a name that PostgreSQL cannot compare', async () => {
    const refused = {
      status: 422,
      body: { code: 'invalid_request', errors: [{ path: 'path:name', given: '"a\\u0000"' }] },
    };
    expect(await api.get('/queues/a%00')).toMatchObject(refused);
    expect(await api.post('/queues/a%00/pause')).toMatchObject(refused);
  });
});

describe('POST /queues/{name}/pause and resume', () => {
  it('stops claims and starts until the queue is resumed; both can be repeated', async () => {
    const id = await api.tasks.submit({ queue: 'switched' });
    await api.enqueue('switched', id);
    for (let i = 0; i < 2; i++) {
      expect(await api.post('/queues/switched/pause')).toMatchObject({
        status: 200,
        body: { name: 'switched', paused: true, counts: { ready: 1 } },
      });
    }
    expect((await api.queue.claim('switched', 'w', 1)).state).toBe('paused');
    expect(await api.tasks.store.start([id], 'w', 3, true)).toMatchObject([{ verdict: 'paused' }]);
    for (let i = 0; i < 2; i++) {
      expect(await api.post('/queues/switched/resume')).toMatchObject({ status: 200, body: { paused: false } });
    }
    expect((await api.queue.claim('switched', 'w', 1)).members).toHaveLength(1);
  });

  it('an older change that arrives late does not replace a newer one in Redis', async () => {
    await api.tasks.store.submitAll([], { names: ['late'], most: 1_000 });
    const paused = await api.tasks.admin.setPaused('late', true);
    await api.post('/queues/late/resume');
    if (paused !== null) await api.queue.setSettings('late', paused);
    expect((await api.queue.counts('late')).paused).toBe(false);
  });

  it('does not create queues', async () => {
    expect(await api.post('/queues/unknown/pause')).toMatchObject({ status: 404, body: { code: 'queue_not_found' } });
    expect(await api.post('/queues/unknown/resume')).toMatchObject({ status: 404, body: { code: 'queue_not_found' } });
    expect((await api.get('/queues/unknown')).status).toBe(404);
  });
});

describe('without Redis', () => {
  it('lists queues without counts, and changes in PostgreSQL still work', async () => {
    const redis = await startRedis();
    const cut = await createApiFixture({ redisUrl: redis.url });
    const waiting = await cut.tasks.submit();
    const failed = await cut.tasks.taskIn('FAILED');
    await redis.stop();
    expect(await cut.get('/queues')).toMatchObject({
      status: 200,
      body: { counted: false, items: [{ name: 'default', counts: null, oldest_ready_age: null }] },
    });
    expect(await cut.post('/queues/default/pause')).toMatchObject({
      status: 200,
      body: { paused: true, counts: null },
    });
    expect(await cut.post(`/tasks/${waiting}/cancel`)).toMatchObject({ status: 200, body: { status: 'CANCELLED' } });
    expect(await cut.post(`/dlq/${failed}/requeue`)).toMatchObject({ status: 200, body: { requeued: true } });
    expect(await cut.get('/workers')).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });
    expect(await cut.get('/stats')).toMatchObject({
      status: 200,
      body: { stores: { postgresql: 'up', redis: 'down' }, queues: [{ counts: null, settled: null }] },
    });
  });
});
