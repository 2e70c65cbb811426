import { describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { migrate, startPostgres, startRedis } from '../../test/harness/private-stores.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../test/running-api.ts';

async function valueOf(api: RunningApi, metric: string): Promise<number> {
  const { body } = await api.request('/metrics');
  return Number(new RegExp(`^${metric} (\\S+)$`, 'm').exec(body as string)?.[1]);
}

describe('without Redis', () => {
  it('starts, accepts tasks, and enqueues later ones when Redis is back', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    await redis.stop();
    const api = await startApi({ ...stores.env, RATE_LIMIT_PER_MINUTE: '6', RATE_LIMIT_BURST: '20' });
    expect((await api.request('/readyz')).status).toBe(200);

    const replies = await Promise.all(Array.from({ length: 5 }, (_, i) => api.post('/tasks', { payload: i })));
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    // The local bucket of this process is used.
    expect(Math.min(...replies.map(({ headers }) => Number(headers.get('ratelimit-remaining'))))).toBe(15);
    expect(await api.rows('SELECT FROM tasks')).toHaveLength(5);
    await expect.poll(() => valueOf(api, 'scheduler_enqueue_failures_total')).toBe(5);

    await redis.restart();
    await expect
      .poll(
        async () => {
          await api.post('/tasks', { payload: 'later' });
          return (await api.request('/queues/default')).body.counts?.ready ?? 0;
        },
        { timeout: 10_000, interval: 300 },
      )
      .toBeGreaterThan(0);
  });

  it('a hung Redis does not slow down submissions', async () => {
    const redis = await startRedis();
    const stores = await createTestStores({ redisUrl: redis.url });
    const api = await startApi({ ...stores.env, RATE_LIMIT_PER_MINUTE: '1000', RATE_LIMIT_BURST: '1000' });
    await api.post('/tasks', { payload: 'warm' });
    redis.pause();
    try {
      const before = performance.now();
      for (let round = 0; round < 10; round++) {
        const replies = await Promise.all(Array.from({ length: 10 }, (_, i) => api.post('/tasks', { payload: i })));
        expect(replies.map(({ status }) => status)).toEqual(Array<number>(10).fill(200));
      }
      // There is one timeout before the breaker opens, and one for each time that it tries again.
      expect(performance.now() - before).toBeLessThan(5_000);
    } finally {
      redis.resume();
    }
  });
});

describe('without PostgreSQL', () => {
  it('answers 503, stores nothing partially, and continues when it is back', async () => {
    const postgres = await startPostgres();
    const stores = await createTestStores({ databaseUrl: postgres.url });
    await migrate(stores.env);
    const env = { ...stores.env, DATABASE_ALLOW_UNSAFE_DURABILITY: 'true' };
    const api = await startApi(env);
    const key = { 'idempotency-key': 'during-the-outage' };
    expect((await api.post('/tasks', { payload: 'before' })).status).toBe(200);

    await postgres.stop();
    const refused = await api.post('/tasks', { payload: 'x' }, key);
    expect(refused).toMatchObject({ status: 503, body: { code: 'postgresql_unavailable' } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect((await api.post('/tasks/batch', { tasks: [{ payload: 1 }] })).status).toBe(503);
    expect((await api.request('/healthz')).status).toBe(200);
    expect((await api.request('/readyz')).status).toBe(200);

    // A replica that starts now stays unready.
    const late = await startApi(env);
    expect((await late.request('/readyz')).body).toEqual({
      status: 'starting',
      problems: ['postgresql: it has not answered yet'],
    });
    expect((await late.post('/tasks', { payload: 1 })).status).toBe(503);

    await postgres.restart();
    await expect
      .poll(async () => (await api.post('/tasks', { payload: 'x' }, key)).status, { timeout: 15_000 })
      .toBe(200);
    await expect.poll(async () => (await late.request('/readyz')).status, { timeout: 15_000 }).toBe(200);
    expect((await late.post('/tasks', { payload: 'x' }, key)).headers.get('idempotency-replayed')).toBe('true');
    const rows = await withConnection(stores.databaseUrl, (client) =>
      client.query(`SELECT payload #>> '{}' AS payload FROM tasks ORDER BY id`),
    );
    expect(rows.rows.map(({ payload }) => payload)).toEqual(['before', 'x']);
  });

  it('refuses a server that could lose committed data', async () => {
    const postgres = await startPostgres({ settings: { fsync: 'off' } });
    const stores = await createTestStores({ databaseUrl: postgres.url });
    await migrate(stores.env);
    await expect(startApi({ ...stores.env, DATABASE_ALLOW_UNSAFE_DURABILITY: 'false' })).rejects.toMatchObject({
      code: 'unsafe_database',
    });
  });
});

describe('the rate limit', () => {
  const limits = { RATE_LIMIT_PER_MINUTE: '6', RATE_LIMIT_BURST: '10', TRUSTED_PROXIES: '127.0.0.1' };
  const from = (address: string) => ({ 'x-forwarded-for': address });

  it('admits a full bucket of tasks, and then answers 429 with Retry-After', async () => {
    const api = await startApi({ ...(await createTestStores()).env, ...limits });
    const replies = [];
    for (let i = 0; i < 13; i++) replies.push(await api.post('/tasks', { payload: i }, from('203.0.113.1')));
    expect(replies.map(({ status }) => status)).toEqual([...Array<number>(10).fill(200), 429, 429, 429]);
    expect(replies[0]?.headers.get('ratelimit-limit')).toBe('10');
    expect(replies[0]?.headers.get('ratelimit-remaining')).toBe('9');
    expect(replies[0]?.headers.get('ratelimit-reset')).toBe('10');
    const last = replies[12];
    expect(last).toMatchObject({ status: 429, body: { code: 'rate_limited' } });
    const retryAfter = Number(last?.headers.get('retry-after'));
    expect(retryAfter).toBeGreaterThanOrEqual(1);
    expect(retryAfter).toBeLessThanOrEqual(10);
    expect(await api.rows('SELECT FROM tasks')).toHaveLength(10);
    expect(await valueOf(api, 'scheduler_rate_limited_total')).toBe(3);
    // Other clients and other routes are unaffected.
    expect((await api.post('/tasks', { payload: 1 }, from('203.0.113.2'))).status).toBe(200);
    expect((await api.request('/tasks', { headers: from('203.0.113.1') })).headers.get('ratelimit-limit')).toBeNull();
  });

  it('charges one token for a refused request or a replay, and counts an IPv6 network as one client', async () => {
    const api = await startApi({ ...(await createTestStores()).env, ...limits, QUEUES_MAX: '1' });
    const remaining = async (path: string, body: unknown, headers: Record<string, string>) =>
      Number((await api.post(path, body, { ...from('2001:db8::1'), ...headers })).headers.get('ratelimit-remaining'));
    expect(await remaining('/tasks', { payload: 1 }, { 'idempotency-key': 'k' })).toBe(9);
    expect(await remaining('/tasks', { payload: 1 }, { 'idempotency-key': 'k' })).toBe(8);
    expect(await remaining('/tasks', { wrong: 1 }, {})).toBe(7);
    expect(await remaining('/tasks/batch', { tasks: [] }, {})).toBe(6);
    expect(await remaining('/tasks', { payload: 1 }, from('2001:db8::abcd'))).toBe(5);
    expect(await remaining('/tasks/batch', { tasks: [1, 2, 3].map((payload) => ({ payload })) }, {})).toBe(2);
    const reused = { tasks: [{ payload: 2, idempotency_key: 'k' }, { payload: 3 }] };
    expect((await api.post('/tasks/batch', reused, from('2001:db8::1'))).status).toBe(409);
    expect(await remaining('/tasks', { wrong: 1 }, {})).toBe(0);
    const oneQueueTooMany = { tasks: [{ payload: 1 }, { payload: 2, queue: 'second' }] };
    expect(await remaining('/tasks/batch', oneQueueTooMany, from('2001:db8:1::1'))).toBe(9);
  });

  it('admits a batch larger than the bucket when the bucket is full, and then works off the debt', async () => {
    const api = await startApi({ ...(await createTestStores()).env, ...limits });
    const tasks = Array.from({ length: 25 }, (_, payload) => ({ payload }));
    const first = await api.post('/tasks/batch', { tasks }, from('203.0.113.5'));
    expect(first.status).toBe(200);
    expect(first.headers.get('ratelimit-remaining')).toBe('0');
    // 15 tokens of debt and one for the request, at 6 a minute.
    const refused = await api.post('/tasks', { payload: 1 }, from('203.0.113.5'));
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(155);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(160);

    await api.post('/tasks', { payload: 1 }, from('203.0.113.6'));
    expect((await api.post('/tasks/batch', { tasks }, from('203.0.113.6'))).status).toBe(429);
    expect(await api.rows('SELECT FROM tasks')).toHaveLength(26);
  });

  it('can be switched off', async () => {
    const api = await startApi((await createTestStores()).env);
    const { status, headers } = await api.post('/tasks', { payload: 1 });
    expect({ status, limit: headers.get('ratelimit-limit') }).toEqual({ status: 200, limit: null });
  });
});

describe('at stop', () => {
  it('answers and commits the requests that have arrived, and enqueues their tasks', async () => {
    const stores = await createTestStores();
    const api = await startApi(stores.env);
    const replies = Array.from({ length: 20 }, (_, i) => api.post('/tasks', { payload: i }));
    await Promise.race(replies);
    await api.stop();
    const settled = await Promise.allSettled(replies);
    const accepted = settled.flatMap((reply) => (reply.status === 'fulfilled' ? [reply.value] : []));
    expect(new Set(accepted.map(({ status }) => status))).toEqual(new Set([200]));
    const after = await startApi(stores.env);
    const rows = await after.rows<{ id: string }>('SELECT id::text AS id FROM tasks');
    expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining(accepted.map(({ body }) => body.id)));
    expect((await after.request('/queues/default')).body.counts.ready).toBe(rows.length);
  });
});
