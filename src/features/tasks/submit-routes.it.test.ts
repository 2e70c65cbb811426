import { beforeAll, describe, expect, it } from 'vitest';
import { withRedis } from '../../../scripts/stores/redis.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../../test/running-api.ts';
import { shardOf, shardOfQueue } from '../../core/shard.ts';

let stores: TestStores;
let api: RunningApi;
/** A second replica on the same stores. */
let other: RunningApi;
let serial = 0;

beforeAll(async () => {
  stores = await createTestStores();
  const env = {
    ...stores.env,
    PAYLOAD_MAX_BYTES: '4096',
    BATCH_MAX_BYTES: '100000',
    BATCH_MAX_TASKS: '50',
    QUEUES_MAX: '12',
  };
  [api, other] = await Promise.all([startApi(env), startApi(env)]);
});

const JSON_ONLY = { 'content-type': 'application/json' };
const newKey = () => `key-${++serial}`;
const withKey = (key: string) => ({ 'idempotency-key': key });

async function countTasks(): Promise<number> {
  const [row] = await api.rows<{ count: number }>('SELECT count(*)::int AS count FROM tasks');
  return row?.count ?? 0;
}

async function readyMembers(queue: string): Promise<string[]> {
  return withRedis(stores.redisUrl, (redis) => redis.zrange(`{${stores.redisPrefix}:1:${queue}}:ready`, '0', '-1'));
}

const errorsOf = ({ body }: Reply): string[] =>
  body.errors.map(({ path, code }: { path: string; code: string }) => `${path} ${code}`);

describe('POST /tasks', () => {
  it('answers with the committed task and all defaults, and enqueues the task', async () => {
    const { status, body, headers } = await api.post('/tasks', { payload: { a: 1 } });
    expect(status).toBe(200);
    expect(body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      queue: 'default',
      action: null,
      payload: { a: 1 },
      priority: 'Medium',
      group: null,
      status: 'PENDING',
      created_at: expect.any(String),
      run_at: body.created_at,
      execution_time: null,
      attempt: 0,
      max_retries: 3,
      backoff: null,
      timeout: 1_800,
      metadata: null,
      trace_id: headers.get('x-trace-id'),
    });
    const [row] = await api.rows<{ payload: unknown; status: string }>(
      'SELECT payload, status::text AS status, trace_id FROM tasks WHERE id = $1',
      [body.id],
    );
    expect(row).toEqual({ payload: { a: 1 }, status: 'PENDING', trace_id: body.trace_id });
    await expect.poll(() => readyMembers('default')).toContain(`2:${body.id}`);
  });

  it('keeps every field', async () => {
    const request = {
      payload: [1, null],
      priority: 'High',
      group: 'acme',
      queue: 'every.field',
      action: 'mail',
      execution_time: 2.5,
      delay: 3_600,
      max_retries: 0,
      backoff: { base: 1, factor: 3, max: 60, jitter: 0.1 },
      timeout: 12.5,
      metadata: { team: 'a' },
    };
    const { body } = await api.post('/tasks', request);
    const { delay: _delay, ...shown } = request;
    expect(body).toMatchObject({ ...shown, status: 'SCHEDULED' });
    const seen = await api.request(`/tasks/${body.id}`);
    expect(seen.body).toMatchObject({
      ...shown,
      status: 'SCHEDULED',
      run_at: body.run_at,
      created_at: body.created_at,
    });
    expect(Date.parse(body.run_at) - Date.parse(body.created_at)).toBe(3_600_000);
  });

  it.each([
    ['lone surrogates and NUL in strings', '{"\\ud800":["\\udfff","a\\u0000b"]}'],
    ['members named like properties of Object.prototype', '{"__proto__":{"constructor":1},"toJSON":2}'],
    ['the order of members', '{"b":1,"a":{"d":2,"c":3}}'],
    ['members that look like numbers', '{"b":1,"2":2,"1":3,"-1":4,"01":5}'],
    ['the notation of numbers', '[1.0,1e2,-0,0.10,1E+2]'],
    ['the notation of escapes', '"\\u0041\\/\\n"'],
    ['large and small doubles', '[1.7976931348623157e+308,5e-324,0.1,9007199254740992]'],
    ['a replacement character', '"\u{FFFD}"'],
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`],
    ['just null', 'null'],
  ])('keeps a payload unchanged: %s', async (_name, payload) => {
    const key = newKey();
    const sent = await api.send('/tasks', `{"payload":${payload}}`, withKey(key));
    expect(sent.status).toBe(200);
    const [row] = await api.rows<{ payload: string }>('SELECT payload::text AS payload FROM tasks WHERE id = $1', [
      sent.body.id,
    ]);
    expect(row?.payload).toBe(payload);
    const textOf = async (path: string, init: RequestInit = {}): Promise<string> => {
      const headers = { 'content-type': 'application/json', ...withKey(key) };
      return (await fetch(api.url + path, { headers, ...init })).text();
    };
    const kept = `"payload":${payload},`;
    expect(await textOf(`/tasks/${sent.body.id}`)).toContain(kept);
    expect(await textOf('/tasks?include=payload&limit=1')).toContain(kept);
    const spaced = `{ "payload" :\t${payload} ,"queue":"default"}`;
    expect(await textOf('/tasks', { method: 'POST', body: spaced })).toContain(kept);
    const batch = `{"tasks":[{"payload":${payload},"idempotency_key":"${key}"},{"queue":"default","payload":${payload}}]}`;
    expect(
      (await textOf('/tasks/batch', { method: 'POST', body: batch, headers: JSON_ONLY })).split(kept),
    ).toHaveLength(3);
    const replay = await api.send('/tasks', `{"payload":${payload}}`, withKey(key));
    expect(replay.body).toEqual(sent.body);
  });

  it('refuses invalid input, names every path, and stores nothing', async () => {
    const before = await countTasks();
    const refused = await api.post('/tasks', {
      priority: 'urgent',
      queue: 'not a queue',
      colour: 1,
      backoff: { factor: 0 },
    });
    expect(refused.status).toBe(422);
    expect(errorsOf(refused).toSorted()).toEqual([
      '/backoff/factor too_small',
      '/colour unknown_field',
      '/payload required',
      '/priority invalid_union',
      '/queue invalid_format',
    ]);
    const statuses = await Promise.all([
      api.send('/tasks', '{"payload":1'),
      api.send('/tasks', '{"payload":1}', { 'content-type': 'text/plain' }),
      api.send('/tasks', `{"payload":"${'x'.repeat(80_000)}"}`),
      api.send('/tasks', `{"payload":"${'x'.repeat(5_000)}"}`),
      api.send('/tasks', '{"payload":12345678901234567890}'),
      api.send('/tasks', `{"payload":${'['.repeat(65)}${']'.repeat(65)}}`),
      api.send('/tasks', '{"payload":1,"payload":2}'),
      api.send('/tasks', '{"payload":1}', withKey('')),
      api.send('/tasks', '{"payload":1}', withKey('k'.repeat(256))),
    ]);
    expect(statuses.map(({ status }) => status)).toEqual([400, 415, 413, 413, 422, 422, 422, 422, 422]);
    expect(statuses[4]?.body.errors).toEqual([
      { path: '/payload', code: 'inexact_number', message: expect.any(String), given: '12345678901234567890' },
    ]);
    expect(await countTasks()).toBe(before);
  });
});

describe('Idempotency-Key', () => {
  it('recognises a repeated request that is written differently', async () => {
    const key = 'respelt';
    const first = await api.send('/tasks', '{"payload":{"a":1,"b":2},"run_at":"2099-01-01T00:00:00Z"}', withKey(key));
    const again = await api.send(
      '/tasks',
      '{"max_retries":3,"run_at":"2099-01-01T00:00:00+00:00","payload":{"b":2.0,"a":1}}',
      withKey(key),
    );
    expect([first.status, again.status]).toEqual([200, 200]);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.body.id).toBe(first.body.id);
  });

  it('returns the first answer again, also from another replica', async () => {
    const key = newKey();
    const first = await api.post('/tasks', { payload: { x: 1 }, delay: 60 }, withKey(key));
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    const before = await countTasks();
    const again = await other.post('/tasks', { delay: 60, priority: 2, payload: { x: 1 } }, withKey(key));
    expect(again.status).toBe(200);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await countTasks()).toBe(before);
  });

  it('refuses another request under the same key', async () => {
    const key = newKey();
    await api.post('/tasks', { payload: 1 }, withKey(key));
    const before = await countTasks();
    const reused = await api.post('/tasks', { payload: 2 }, withKey(key));
    expect({ status: reused.status, code: reused.body.code, errors: errorsOf(reused) }).toEqual({
      status: 409,
      code: 'idempotency_key_reused',
      errors: ['header:idempotency-key key_reused'],
    });
    expect(await countTasks()).toBe(before);
  });

  it('makes one task of many simultaneous requests on two replicas', async () => {
    for (let round = 0; round < 10; round++) {
      const key = newKey();
      const before = await countTasks();
      const replies = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          (i % 2 === 0 ? api : other).post('/tasks', { payload: { round } }, withKey(key)),
        ),
      );
      expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
      expect(new Set(replies.map(({ body }) => body.id)).size).toBe(1);
      expect(replies.filter(({ headers }) => headers.get('idempotency-replayed') === null)).toHaveLength(1);
      expect(await countTasks()).toBe(before + 1);
    }
  });

  it('accepts only one of two different requests that race for a key', async () => {
    for (let round = 0; round < 10; round++) {
      const key = newKey();
      const replies = await Promise.all([
        api.post('/tasks', { payload: 'a' }, withKey(key)),
        other.post('/tasks', { payload: 'b' }, withKey(key)),
      ]);
      expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200, 409]));
    }
  });

  it('can be used for a new request when it has expired', async () => {
    const key = newKey();
    const first = await api.post('/tasks', { payload: 1 }, withKey(key));
    await api.rows(`UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE key = $1`, [key]);
    const replies = await Promise.all(
      [api, other].map((replica) => replica.post('/tasks', { payload: 2 }, withKey(key))),
    );
    const ids = new Set(replies.map(({ body }) => body.id));
    expect(ids.size).toBe(1);
    expect(ids).not.toContain(first.body.id);
    expect((await api.post('/tasks', { payload: 1 }, withKey(key))).status).toBe(409);
  });
});

describe('the same idempotency key in two queues', () => {
  it('names two tasks, each of which is found again', async () => {
    const key = newKey();
    const submit = async (queue: string, payload: number) => {
      const { status, headers, body } = await api.post('/tasks', { payload, queue }, withKey(key));
      return { status, replayed: headers.get('idempotency-replayed'), id: body.id };
    };
    const [a, b] = [await submit('key-a', 1), await submit('key-b', 2)];
    expect([a, b]).toMatchObject([
      { status: 200, replayed: null },
      { status: 200, replayed: null },
    ]);
    expect(a.id).not.toBe(b.id);
    expect(await submit('key-a', 1)).toEqual({ status: 200, replayed: 'true', id: a.id });
    expect(await submit('key-b', 2)).toEqual({ status: 200, replayed: 'true', id: b.id });
    expect((await submit('key-a', 2)).status).toBe(409);
  });

  it('may be used in one batch', async () => {
    const key = newKey();
    const tasks = ['key-a', 'key-b'].map((queue) => ({ payload: queue, queue, idempotency_key: key }));
    const first = await api.post('/tasks/batch', { tasks });
    const second = await api.post('/tasks/batch', { tasks: tasks.toReversed() });
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.body.tasks.map(({ id, replayed }: any) => [id, replayed])).toEqual(
      first.body.tasks.toReversed().map(({ id }: any) => [id, true]),
    );
  });
});

it('the id of a task carries the shard of its queue', async () => {
  const { body } = await api.post('/tasks', { payload: 1, queue: 'key-a' });
  expect(shardOf(body.id)).toBe(shardOfQueue('key-a'));
});

describe('POST /tasks/batch', () => {
  it('answers in order, and counts replays as success', async () => {
    const key = newKey();
    const { body: single } = await api.post('/tasks', { payload: 'b' }, withKey(key));
    const { status, body } = await api.post('/tasks/batch', {
      tasks: [{ payload: 'a' }, { payload: 'b', idempotency_key: key }, { payload: 'c', priority: 1 }],
    });
    expect(status).toBe(200);
    expect(body.tasks.map(({ payload, replayed }: any) => [payload, replayed])).toEqual([
      ['a', false],
      ['b', true],
      ['c', false],
    ]);
    expect(body.tasks[1]).toEqual({ ...single, replayed: true });
    expect(body.tasks[0].id < body.tasks[2].id).toBe(true);
    await expect
      .poll(() => readyMembers('default'))
      .toEqual(expect.arrayContaining([`2:${body.tasks[0].id}`, `1:${body.tasks[2].id}`]));
  });

  it('stores nothing when one task is wrong', async () => {
    const before = await countTasks();
    const wrong = await api.post('/tasks/batch', {
      tasks: [{ payload: 1 }, { payload: 2, priority: 'x' }, { pay: 3 }],
    });
    expect(wrong.status).toBe(422);
    expect(errorsOf(wrong)).toEqual([
      '/tasks/1/priority invalid_union',
      '/tasks/2/payload required',
      '/tasks/2/pay unknown_field',
    ]);
    const large = await api.post('/tasks/batch', { tasks: [{ payload: 1 }, { payload: 'x'.repeat(5_000) }] });
    expect({ status: large.status, errors: errorsOf(large) }).toEqual({
      status: 413,
      errors: ['/tasks/1/payload too_large'],
    });
    expect((await api.post('/tasks/batch', { tasks: Array.from({ length: 51 }, () => ({ payload: 1 })) })).status).toBe(
      422,
    );
    expect((await api.send('/tasks/batch', `{"tasks":[{"payload":"${'x'.repeat(100_000)}"}]}`)).status).toBe(413);
    expect(await countTasks()).toBe(before);
  });

  it('refuses a repeated key with both paths, and a reused key with its path', async () => {
    const [taken, fresh] = [newKey(), newKey()];
    await api.post('/tasks', { payload: 1 }, withKey(taken));
    const before = await countTasks();
    const twice = await api.post('/tasks/batch', {
      tasks: [{ payload: 1, idempotency_key: fresh }, { payload: 2 }, { payload: 1, idempotency_key: fresh }],
    });
    expect({ status: twice.status, errors: errorsOf(twice) }).toEqual({
      status: 422,
      errors: ['/tasks/0/idempotency_key repeated_key', '/tasks/2/idempotency_key repeated_key'],
    });
    const reused = await api.post('/tasks/batch', {
      tasks: [{ payload: 1 }, { payload: 2, idempotency_key: taken }, { payload: 3, idempotency_key: fresh }],
    });
    expect({ status: reused.status, errors: errorsOf(reused) }).toEqual({
      status: 409,
      errors: ['/tasks/1/idempotency_key key_reused'],
    });
    expect(await countTasks()).toBe(before);
    expect(
      (await api.post('/tasks', { payload: 'free' }, withKey(fresh))).headers.get('idempotency-replayed'),
    ).toBeNull();
  });

  it('refuses a key in the header, because a repetition would create all tasks again', async () => {
    const before = await countTasks();
    const headed = await api.post('/tasks/batch', { tasks: [{ payload: 1 }] }, withKey(newKey()));
    expect({ status: headed.status, errors: errorsOf(headed) }).toEqual({
      status: 422,
      errors: ['header:idempotency-key not_for_batches'],
    });
    expect(await countTasks()).toBe(before);
  });

  it('does not deadlock with keys in opposite orders', async () => {
    for (let round = 0; round < 10; round++) {
      const tasks = Array.from({ length: 20 }, () => ({ payload: 1, idempotency_key: newKey() }));
      const replies = await Promise.all([
        api.post('/tasks/batch', { tasks }),
        other.post('/tasks/batch', { tasks: tasks.toReversed() }),
      ]);
      const [forth, back] = replies.map(({ body }) => body.tasks.map(({ id }: { id: string }) => id) as string[]);
      expect(back?.toReversed()).toEqual(forth);
    }
  });
});

describe('a row that PostgreSQL refuses', () => {
  it('does not make the other rows of its statement fail', async () => {
    await api.rows(`ALTER TABLE submissions ADD CONSTRAINT no_bad_payload CHECK (payload::text <> '"bad"')`);
    try {
      const replies = await Promise.all(
        Array.from({ length: 30 }, (_, i) => api.post('/tasks', { payload: i === 11 ? 'bad' : i })),
      );
      expect(replies.flatMap(({ status }, i) => (status === 200 ? [] : [i]))).toEqual([11]);
      expect(replies[11]).toMatchObject({ status: 422, body: { code: 'refused_data' } });
      const before = await countTasks();
      expect((await api.post('/tasks/batch', { tasks: [{ payload: 1 }, { payload: 'bad' }] })).status).toBe(422);
      expect(await countTasks()).toBe(before);
    } finally {
      await api.rows('ALTER TABLE submissions DROP CONSTRAINT no_bad_payload');
    }
  });
});

describe('queues', () => {
  const queueNames = async (): Promise<string[]> =>
    (await api.rows<{ name: string }>('SELECT name FROM queues ORDER BY name')).map(({ name }) => name);

  it('of a refused request are not created', async () => {
    const key = newKey();
    for (const queue of ['default', 'deleted']) await api.post('/tasks', { payload: 1, queue }, withKey(key));
    // The key outlives its queue.
    await api.rows(`DELETE FROM queues WHERE name = 'deleted'`);
    const before = await queueNames();
    expect(before).not.toContain('deleted');
    expect((await api.post('/tasks', { payload: 2, queue: 'deleted' }, withKey(key))).status).toBe(409);
    const tasks = [
      { payload: 1, queue: 'refused' },
      { payload: 2, idempotency_key: key },
    ];
    expect((await api.post('/tasks/batch', { tasks })).status).toBe(409);
    const many = Array.from({ length: 12 }, (_, i) => ({ payload: i, queue: `many-${i}` }));
    expect((await api.post('/tasks/batch', { tasks: many })).status).toBe(422);
    expect(await queueNames()).toEqual(before);
  });

  it('can be created by several replicas at the same moment', async () => {
    const posts = [api, other, api, other].map((one) => one.post('/tasks', { payload: 1, queue: 'at-once' }));
    expect((await Promise.all(posts)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(await readyMembers('at-once')).toHaveLength(4);
  });

  it('are created by their first task, up to the limit', async () => {
    const [row] = await api.rows<{ count: number }>('SELECT count(*)::int AS count FROM queues');
    for (let i = row?.count ?? 0; i < 12; i++)
      expect((await api.post('/tasks', { payload: 1, queue: `use-${i}` })).status).toBe(200);
    const refused = await api.post('/tasks', { payload: 1, queue: 'one-more' });
    expect({ status: refused.status, code: refused.body.code, errors: errorsOf(refused) }).toEqual({
      status: 422,
      code: 'queues_exceeded',
      errors: ['/queue queues_exceeded'],
    });
    const batch = await api.post('/tasks/batch', { tasks: [{ payload: 1 }, { payload: 1, queue: 'one-more' }] });
    expect(errorsOf(batch)).toEqual(['/tasks/1/queue queues_exceeded']);
    expect((await api.post('/tasks', { payload: 1, queue: 'default' })).status).toBe(200);
  });
});

describe('pages', () => {
  it('serves the API description and the problem codes', async () => {
    const { body } = await api.request('/openapi.json');
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        '/tasks',
        '/tasks/batch',
        '/tasks/{id}',
        '/queues',
        '/dlq',
        '/workers',
        '/stats',
        '/readyz',
      ]),
    );
    for (const path of [
      '/docs',
      '/docs/errors',
      '/docs/assets/swagger-ui-bundle.js',
      '/docs/assets/start.js',
      '/docs/assets/page.css',
      '/docs/assets/swagger-ui.css',
    ]) {
      expect((await api.request(path)).status).toBe(200);
    }
    expect((await api.request('/docs/assets/package.json')).status).toBe(404);
    expect((await api.request('/docs')).headers.get('content-security-policy')).not.toContain('unsafe');
  });

  it('serves probes and metrics', async () => {
    expect((await api.request('/healthz')).body).toEqual({ status: 'ok' });
    expect((await api.request('/readyz')).body).toEqual({ status: 'ready', problems: [] });
    expect((await api.request('/metrics')).body).toContain(
      'scheduler_tasks_submitted_total{queue="default",priority="Medium"}',
    );
  });
});
