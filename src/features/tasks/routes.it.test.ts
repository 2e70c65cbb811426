import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { idMilliseconds } from '../../core/ids.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

const UNKNOWN = '019a5b3c-8f00-7000-8000-0123456789ab';

interface ListedTask {
  readonly id: string;
}

/** Reads all pages of a list by following the cursors. */
async function pages<Item>(path: string, of: Pick<ApiFixture, 'get'> = api): Promise<Item[][]> {
  const all: Item[][] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const { body } = await of.get(`${path}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    all.push(body.items as Item[]);
    cursor = body.next_cursor as string | null;
  }
  return all;
}

describe('GET /tasks/{id}', () => {
  it('shows a task with its executions, and no token', async () => {
    const id = await api.tasks.submit({
      payload: '{"n":12345678901234567890}',
      priority: 1,
      group: 'acme',
      action: 'mail',
      executionTimeSeconds: 1.5,
      timeoutMs: 1_500,
      backoff: { baseMs: 2_000, factor: 2, maxMs: 60_000, jitter: 0.5 },
      metadata: { team: 'a' },
    });
    await api.tasks.start(id);
    await api.tasks.settle(id, {
      verb: 'retry',
      delayMs: 60_000,
      error: { name: 'Error', message: 'no' },
      result: null,
    });
    const { status, body, text } = await api.get(`/tasks/${id}`);
    expect(status).toBe(200);
    expect(text).toContain('"payload":{"n":12345678901234567890}');
    expect(text).not.toContain(`${id}:1`);
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(body).toEqual({
      id,
      queue: 'default',
      action: 'mail',
      payload: expect.anything(),
      priority: 'High',
      group: 'acme',
      status: 'SCHEDULED',
      kept: true,
      attempt: 1,
      failures: 1,
      lost: 0,
      max_retries: 3,
      backoff: { base: 2, factor: 2, max: 60, jitter: 0.5 },
      timeout: 1.5,
      execution_time: 1.5,
      metadata: { team: 'a' },
      progress: null,
      cancel_requested: false,
      worker_id: null,
      trace_id: 'trace',
      created_at: new Date(idMilliseconds(id)).toISOString(),
      run_at: time,
      started_at: time,
      finished_at: null,
      attempts: [
        {
          attempt: 1,
          worker_id: 'worker-1',
          ordinal: 1,
          started_at: time,
          finished_at: time,
          outcome: 'RETRIED',
          error: { name: 'Error', message: 'no' },
          result: null,
        },
      ],
    });
  });

  it('shows what the handler reported and returned', async () => {
    const id = await api.tasks.taskIn('PROCESSING');
    await api.tasks.store.recordProgress('worker-1', [{ id, attempt: 1, progress: '{"done":0.5}' }]);
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({
      status: 'PROCESSING',
      worker_id: 'worker-1',
      progress: { done: 0.5 },
    });
    await api.tasks.settle(id, { verb: 'complete', result: '[1]' });
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({
      status: 'COMPLETED',
      attempts: [{ outcome: 'COMPLETED', result: [1] }],
    });
  });

  it('refuses unknown and malformed ids', async () => {
    expect(await api.get(`/tasks/${UNKNOWN}`)).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    expect(await api.get('/tasks/17')).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', errors: [{ path: 'path:id' }] },
    });
    expect(await api.get(`/tasks/${UNKNOWN}?x=1`)).toMatchObject({
      status: 422,
      body: { errors: [{ path: 'query:x' }] },
    });
  });
});

describe('GET /tasks', () => {
  const idsOf = async (query: string): Promise<string[]> => {
    const { status, body } = await api.get(`/tasks?${query}`);
    expect(status).toBe(200);
    return (body.items as ListedTask[]).map(({ id }) => id);
  };

  it('lists newest first, without payloads unless they are asked for', async () => {
    const ids = [];
    for (let i = 0; i < 3; i++) ids.push(await api.tasks.submit({ queue: 'list', payload: `{"i":${i}}` }));
    expect(await idsOf('queue=list')).toEqual(ids.toReversed());
    const plain = await api.get('/tasks?queue=list');
    expect(plain.body.items).not.toContainEqual(expect.objectContaining({ payload: expect.anything() }));
    const full = await api.get('/tasks?queue=list&include=payload');
    expect(full.body.items).toMatchObject([{ payload: { i: 2 } }, { payload: { i: 1 } }, { payload: { i: 0 } }]);
  });

  it('filters by every field', async () => {
    const queue = 'filters';
    const waiting = await api.tasks.submit({ queue, action: 'mail', priority: 3, traceId: 'trace-1' });
    const done = await api.tasks.taskIn('COMPLETED', { queue });
    const failed = await api.tasks.taskIn('FAILED', { queue });
    expect(await idsOf(`queue=${queue}&status=PENDING`)).toEqual([waiting]);
    expect(await idsOf(`queue=${queue}&status=COMPLETED,FAILED`)).toEqual([failed, done]);
    expect(await idsOf(`queue=${queue}&action=mail`)).toEqual([waiting]);
    expect(await idsOf(`queue=${queue}&priority=Low`)).toEqual([waiting]);
    expect(await idsOf(`queue=${queue}&priority=High`)).toEqual([]);
    expect(await idsOf(`queue=${queue}&trace_id=trace-1`)).toEqual([waiting]);
  });

  it('filters by creation time, with an inclusive lower bound', async () => {
    const at = Date.now() - 3_600_000;
    const queue = 'created';
    const ids = [];
    for (const offset of [0, 1, 2]) ids.push(await api.tasks.submit({ queue, id: api.idAt(at + offset) }));
    const iso = (ms: number) => encodeURIComponent(new Date(ms).toISOString());
    expect(await idsOf(`queue=${queue}&created_after=${iso(at + 1)}`)).toEqual([ids[2], ids[1]]);
    expect(await idsOf(`queue=${queue}&created_before=${iso(at + 1)}`)).toEqual([ids[0]]);
    expect(await idsOf(`queue=${queue}&created_after=${iso(at)}&created_before=${iso(at + 1)}`)).toEqual([ids[0]]);
  });

  it('pages without gaps or repeats while tasks come in', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push(await api.tasks.submit({ queue: 'pages' }));
    const first = await api.get('/tasks?queue=pages&limit=3');
    await api.tasks.submit({ queue: 'pages' });
    const second = await api.get(`/tasks?queue=pages&limit=3&cursor=${first.body.next_cursor}`);
    await api.tasks.submit({ queue: 'pages' });
    const third = await api.get(`/tasks?queue=pages&limit=3&cursor=${second.body.next_cursor}`);
    const seen = [first, second, third].flatMap(({ body }) => (body.items as ListedTask[]).map(({ id }) => id));
    expect(seen).toEqual(ids.toReversed());
    expect(third.body.next_cursor).toBeNull();
  });

  it('ends without a cursor when a page is exactly full', async () => {
    for (let i = 0; i < 4; i++) await api.tasks.submit({ queue: 'full' });
    expect((await pages('/tasks?queue=full&limit=2')).map((page) => page.length)).toEqual([2, 2]);
  });

  it('with little time continues the search at the cursor, but finds few unfinished tasks at once', async () => {
    const hurried = await createApiFixture({ search: { sliceRows: 4, searchMs: 0 } });
    const ids: string[] = [];
    ids.push(await hurried.tasks.submit({ queue: 'rare' }), await hurried.tasks.taskIn('SCHEDULED', { queue: 'rare' }));
    for (let i = 0; i < 7; i++) ids.push(await hurried.tasks.taskIn('COMPLETED', { queue: 'b' }));
    ids.push(await hurried.tasks.taskIn('PROCESSING', { queue: 'b' }));
    const seenOf = async (query: string) =>
      (await pages<ListedTask>(`/tasks?${query}`, hurried)).map((page) => page.map(({ id }) => id));
    expect(await seenOf('queue=rare')).toEqual([[], [], [ids[1], ids[0]]]);
    expect(await seenOf('queue=rare&limit=1')).toEqual([[], [], [ids[1]], [ids[0]]]);
    expect(await seenOf('queue=rare&status=PENDING')).toEqual([[ids[0]]]);
    expect(await seenOf('status=PENDING,SCHEDULED,PROCESSING&limit=2')).toEqual([[ids[9], ids[1]], [ids[0]]]);
    for (let i = 0; i < 2; i++) ids.push(await hurried.tasks.submit({ queue: 'b' }));
    // Four unfinished tasks are too many for the fast path, until the search has passed some of them.
    expect(await seenOf('queue=rare&status=PENDING')).toEqual([[], [ids[0]]]);
  });

  it.each([
    ['limit=0', 'query:limit'],
    ['limit=201', 'query:limit'],
    ['limit=ten', 'query:limit'],
    ['cursor=', 'query:cursor'],
    ['cursor=nonsense', 'query:cursor'],
    ['cursor=WyJ4Il0', 'query:cursor'],
    ['status=DONE', 'query:status'],
    ['status=PENDING,DONE', 'query:status'],
    ['queue=a%00b', 'query:queue'],
    ['action=%00', 'query:action'],
    ['trace_id=%00', 'query:trace_id'],
    ['priority=1', 'query:priority'],
    ['created_after=yesterday', 'query:created_after'],
    ['created_after=2026-01-01T00:00:00', 'query:created_after'],
    ['created_after=9999-12-31T23:59:59-01:00', 'query:created_after'],
    ['group=%00', 'query:group'],
    ['idempotency_key=%00', 'query:idempotency_key'],
    ['metadata=a', 'query:metadata'],
    ['metadata=a&metadata.a=b', 'query:metadata'],
    ['metadata.=a', 'query:metadata.'],
    ['metadata.a=%00', 'query:metadata.a'],
    ['metadata.a%0A=b', 'query:metadata.a\n'],
    ['metadata.a=b&metadata.a=c', 'query:metadata.a'],
    ['metadata.__proto__=a', 'query:metadata.__proto__'],
    [`metadata.a=${'x'.repeat(1_025)}`, 'query:metadata.a'],
    [Array.from({ length: 33 }, (_, i) => `metadata.${i}=a`).join('&'), 'query:metadata'],
    ['metadatas.a=b', 'query:metadatas.a'],
    ['include=everything', 'query:include'],
    ['color=red', 'query:color'],
  ])('refuses %s', async (query, path) => {
    const { status, body } = await api.get(`/tasks?${query}`);
    expect(status).toBe(422);
    expect(body.errors?.map((error) => error.path)).toEqual([path]);
  });
});

describe('long rows', () => {
  const LONG = JSON.stringify('x'.repeat(400_000));

  it('make a page shorter, and none is left out', async () => {
    const queue = 'long';
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push(await api.tasks.submit({ queue, payload: i === 3 ? '1' : LONG }));
    for (const path of [
      `/tasks?queue=${queue}&include=payload`,
      `/tasks?queue=${queue}&include=payload&status=PENDING`,
    ]) {
      const seen = await pages<ListedTask>(path);
      expect(seen.flat().map(({ id }) => id)).toEqual(ids.toReversed());
      // The third row makes the page longer than a mebibyte.
      expect(seen.map((page) => page.length).slice(0, 2)).toEqual([3, 4]);
    }
    expect(await pages(`/tasks?queue=${queue}`)).toHaveLength(1);
  });

  it('of two statuses are merged without gaps', async () => {
    const queue = 'long-mixed';
    const ids: string[] = [];
    for (let i = 0; i < 8; i++) {
      ids.push(await api.tasks.taskIn(i % 3 === 0 ? 'PROCESSING' : 'PENDING', { queue, payload: LONG }));
    }
    const seen = await pages<ListedTask>(`/tasks?queue=${queue}&include=payload&status=PENDING,PROCESSING`);
    expect(seen.flat().map(({ id }) => id)).toEqual(ids.toReversed());
    expect(Math.max(...seen.map((page) => page.length))).toBe(3);
  });

  it('of executions also make a page shorter; the task shows the latest ones', async () => {
    const id = await api.tasks.submit();
    for (let i = 0; i < 5; i++) {
      await api.tasks.start(id);
      const error = { name: 'Error', message: 'again' };
      await api.tasks.settle(id, { verb: 'retry', delayMs: 0, error, result: JSON.stringify('x'.repeat(400_000)) });
    }
    const all = await pages<{ attempt: number }>(`/tasks/${id}/logs?limit=200`);
    expect(all.map((page) => page.map(({ attempt }) => attempt))).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
    const { body } = await api.get(`/tasks/${id}`);
    expect((body.attempts as { attempt: number }[]).map(({ attempt }) => attempt)).toEqual([3, 4, 5]);
  });

  it('longer than a page are on a page alone', async () => {
    const payload = JSON.stringify('x'.repeat(2_000_000));
    for (let i = 0; i < 2; i++) await api.tasks.submit({ queue: 'longest', payload });
    const seen = await pages('/tasks?queue=longest&include=payload');
    expect(seen.slice(0, 2).map((page) => page.length)).toEqual([1, 1]);
    expect(seen.flat()).toHaveLength(2);
  });
});

describe('one snapshot', () => {
  /** Runs `body` while all tasks of a queue change their status again and again, each time in one transaction. */
  async function whileTasksRun(queue: string, body: () => Promise<void>): Promise<void> {
    const over = new AbortController();
    const flipping = (async () => {
      while (!over.signal.aborted) {
        await api.tasks.database.run(
          {
            name: 'test-flip',
            text: `UPDATE unfinished
                   SET status = CASE status WHEN 'PENDING' THEN 'PROCESSING' ELSE 'PENDING' END::task_status,
                       attempt = attempt + 1, worker_id = CASE status WHEN 'PENDING' THEN 'w.1' END
                   WHERE queue = $1`,
          },
          [queue],
        );
      }
    })();
    try {
      await body();
    } finally {
      over.abort();
      await flipping;
    }
  }

  it('a list of unfinished tasks has each task once while they start and are released', async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => api.tasks.submit({ queue: 'moments' })));
    await whileTasksRun('moments', async () => {
      for (let i = 0; i < 60; i++) {
        const { body } = await api.get('/tasks?queue=moments&status=PENDING,PROCESSING&limit=100');
        const items = body.items as { id: string; status: string }[];
        expect(items.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
        expect(new Set(items.map(({ status }) => status)).size).toBe(1);
      }
    });
  });

  it('the counts of unfinished tasks keep their sum while the tasks start and are released', async () => {
    await Promise.all(Array.from({ length: 20 }, () => api.tasks.submit({ queue: 'moments-too' })));
    const open = async (): Promise<Record<string, number>> =>
      (await api.get('/stats')).body.tasks as Record<string, number>;
    const sum = ({ PENDING = 0, PROCESSING = 0 }: Record<string, number>): number => PENDING + PROCESSING;
    const expected = sum(await open());
    await whileTasksRun('moments-too', async () => {
      for (let i = 0; i < 60; i++) expect(sum(await open())).toBe(expected);
    });
  });
});

describe('GET /tasks/{id}/logs', () => {
  it('pages through the executions, oldest first', async () => {
    const id = await api.tasks.submit();
    for (let i = 0; i < 5; i++) {
      await api.tasks.start(id);
      await api.tasks.settle(id, { verb: 'release' });
    }
    const all = await pages<{ attempt: number; outcome: string }>(`/tasks/${id}/logs?limit=2`);
    expect(all.map((page) => page.map(({ attempt }) => attempt))).toEqual([[1, 2], [3, 4], [5]]);
    expect(all.flat().every(({ outcome }) => outcome === 'RELEASED')).toBe(true);
  });

  it('is empty for a task that has never run, and 404 for an unknown task', async () => {
    const id = await api.tasks.submit();
    expect((await api.get(`/tasks/${id}/logs`)).body).toEqual({ items: [], next_cursor: null });
    expect(await api.get(`/tasks/${UNKNOWN}/logs`)).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    expect((await api.get('/tasks/x/logs')).status).toBe(422);
    const message = 'expected the `next_cursor` of an answer to the same request';
    const beyond = Buffer.from('[10000000000]').toString('base64url');
    expect(await api.get(`/tasks/${id}/logs?cursor=${beyond}`)).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', errors: [{ path: 'query:cursor', message }] },
    });
    expect(await api.get(`/tasks/${id}/logs?cursor=${'A'.repeat(60)}`)).toMatchObject({
      status: 409,
      body: { code: 'invalid_cursor', errors: [{ path: 'query:cursor', message }] },
    });
  });
});

describe('POST /tasks/{id}/cancel', () => {
  it('ends a waiting task and takes it out of Redis', async () => {
    const id = await api.tasks.submit({ queue: 'cancel' });
    await api.enqueue('cancel', id);
    expect((await api.queue.counts('cancel')).ready).toBe(1);
    expect(await api.post(`/tasks/${id}/cancel`)).toMatchObject({
      status: 200,
      body: { id, status: 'CANCELLED', cancel_requested: true },
    });
    expect((await api.queue.counts('cancel')).ready).toBe(0);
    expect((await api.tasks.row(id)).finished_at).not.toBeNull();
    expect(await api.post(`/tasks/${id}/cancel`)).toMatchObject({ status: 200, body: { id, status: 'CANCELLED' } });
  });

  it('notifies the worker of a running task', async () => {
    const id = await api.tasks.taskIn('PROCESSING');
    const told = api.nextCancel();
    await told.subscribed;
    expect(await api.post(`/tasks/${id}/cancel`)).toMatchObject({
      status: 202,
      body: { id, status: 'PROCESSING', cancel_requested: true },
    });
    expect(await told.taskId).toBe(id);
    await api.tasks.settle(id, {
      verb: 'retry',
      delayMs: 1,
      error: { name: 'AttemptAbortedError', message: 'cancelled' },
      result: null,
    });
    expect((await api.get(`/tasks/${id}`)).body).toMatchObject({
      status: 'CANCELLED',
      cancel_requested: true,
      attempts: [{ outcome: 'CANCELLED' }],
    });
  });

  it.each(['COMPLETED', 'FAILED'] as const)('refuses a %s task', async (status) => {
    const id = await api.tasks.taskIn(status);
    expect(await api.post(`/tasks/${id}/cancel`)).toMatchObject({ status: 409, body: { code: 'not_cancellable' } });
  });

  it('refuses unknown and malformed ids', async () => {
    expect(await api.post(`/tasks/${UNKNOWN}/cancel`)).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    expect((await api.post('/tasks/x/cancel')).status).toBe(422);
  });
});

describe('a very deeply nested value', () => {
  it('does not break a read or a page that contains it', async () => {
    const deep = '['.repeat(3_000) + ']'.repeat(3_000);
    const id = await api.tasks.taskIn('FAILED', { queue: 'deep' });
    const write = (text: string) => api.tasks.database.run({ name: '', text }, [id, deep]);
    await write('UPDATE submissions SET payload = $2::json WHERE id = $1');
    await write('UPDATE finished SET progress = $2::json, result = $2::json, error = $2::json WHERE id = $1');
    await write(`UPDATE dlq SET errors = json_build_array(json_build_object('attempt', 1, 'worker_id', 'w',
                   'outcome', 'FAILED', 'at', now(), 'error', $2::json)) WHERE task_id = $1`);
    const paths = [
      `/tasks/${id}`,
      `/tasks/${id}/logs`,
      '/tasks?queue=deep&include=payload',
      '/tasks?queue=deep',
      `/dlq/${id}`,
      '/dlq?queue=deep',
    ];
    const answers = await Promise.all(paths.map((path) => api.get(path)));
    expect(answers.map(({ status }) => status)).toEqual(paths.map(() => 200));
    for (const member of ['payload', 'progress', 'result', 'error']) {
      expect(answers[0]?.text.includes(`"${member}":${deep}`), member).toBe(true);
    }
  });
});
