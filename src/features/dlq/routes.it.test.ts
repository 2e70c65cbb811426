import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture, type Reply } from '../../../test/api-fixture.ts';
import { insertTasks } from '../../../test/harness/task-rows.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { ANY_DEAD_LETTER } from './requeue-store.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

const UNKNOWN = '019a5b3c-8f00-7000-8000-0123456789ab';

async function failedTasks(queue: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push(await api.tasks.taskIn('FAILED', { queue }));
  return ids;
}

interface Letter {
  readonly task_id: string;
}

const idsIn = (body: { items?: unknown }): string[] => (body.items as Letter[]).map(({ task_id }) => task_id);

describe('GET /dlq', () => {
  it('lists open dead letters with their errors, latest failure first', async () => {
    const ids = await failedTasks('list', 2);
    const { status, body } = await api.get('/dlq?queue=list');
    expect(status).toBe(200);
    expect(idsIn(body)).toEqual(ids.toReversed());
    const time = expect.stringMatching(/Z$/);
    expect((body.items as unknown[])[0]).toEqual({
      task_id: ids[1],
      attempt: 1,
      queue: 'list',
      action: null,
      priority: 'Medium',
      reason: 'final_error',
      errors: [
        {
          attempt: 1,
          worker_id: 'worker-1',
          outcome: 'FAILED',
          at: time,
          error: { name: 'Error', message: 'no luck' },
        },
      ],
      failed_at: time,
      requeued_at: null,
    });
  });

  it('distinguishes requeued and open dead letters', async () => {
    const [a, b] = (await failedTasks('requeued', 2)) as [string, string];
    await api.post(`/dlq/${a}/requeue`);
    expect(idsIn((await api.get('/dlq?queue=requeued')).body)).toEqual([b]);
    expect(idsIn((await api.get('/dlq?queue=requeued&requeued=true')).body)).toEqual([a]);
    expect(idsIn((await api.get('/dlq?queue=requeued&requeued=any')).body)).toEqual([b, a]);
  });

  it('filters by action, reason and time', async () => {
    const queue = 'filters';
    const id = await api.tasks.taskIn('FAILED', { queue, action: 'mail' });
    const count = async (filter: string) => idsIn((await api.get(`/dlq?queue=${queue}&${filter}`)).body).length;
    expect(await count('action=mail')).toBe(1);
    expect(await count('action=other')).toBe(0);
    expect(await count('reason=final_error')).toBe(1);
    expect(await count('reason=lost_cap')).toBe(0);
    const created = idMilliseconds(id);
    const iso = (ms: number) => encodeURIComponent(new Date(ms).toISOString());
    expect(await count(`failed_after=${iso(created)}`)).toBe(1);
    expect(await count(`failed_before=${iso(created)}`)).toBe(0);
    expect(await count(`failed_before=${iso(created + 60_000)}&failed_after=${iso(created - 60_000)}`)).toBe(1);
  });

  it('pages without gaps or repeats, even among equal milliseconds', async () => {
    const ids = await failedTasks('pages', 7);
    const text = `UPDATE dlq SET failed_at = date_trunc('second', failed_at) + (get_byte(uuid_send(task_id), 15) % 3) * interval '1 microsecond' WHERE queue = 'pages'`;
    await api.tasks.database.run({ name: 'test-truncate', text }, []);
    const seen: string[] = [];
    let cursor = '';
    for (;;) {
      const { body } = await api.get(`/dlq?queue=pages&limit=2${cursor}`);
      seen.push(...idsIn(body));
      if (body.next_cursor === null) break;
      await failedTasks('pages', 1);
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(seen.toSorted()).toEqual(ids);
  });

  it.each([
    'reason=bad_luck',
    'requeued=1',
    'failed_after=x',
    'failed_after=2026-01-01T00:00:00',
    'failed_after=9999-12-31T23:59:59-01:00',
    'queue=%00',
    'action=%00',
    'limit=0',
    'color=red',
    'error_contains=x',
  ])('refuses %s', async (query) => {
    expect(await api.get(`/dlq?${query}`)).toMatchObject({ status: 422, body: { code: 'invalid_request' } });
  });

  it.each(['0000-01-01T00:00:00Z', '2026-01-01T00:00:00%2B23:59', '2026-01-01t00:00:00.123456789z'])(
    'accepts a time that PostgreSQL itself would refuse: %s',
    async (time) => {
      expect((await api.get(`/dlq?failed_after=${time}&failed_before=${time}`)).status).toBe(200);
    },
  );
});

describe('GET /dlq with long errors', () => {
  it('makes pages shorter, and leaves none out', async () => {
    const ids = await failedTasks('long', 7);
    const text = `UPDATE dlq SET errors = json_build_array(json_build_object('attempt', 1, 'worker_id', 'w', 'outcome', 'FAILED',
      'at', now(), 'error', repeat('x', 400000))) WHERE queue = 'long'`;
    await api.tasks.database.run({ name: 'test-long-errors', text }, []);
    const seen: string[][] = [];
    for (let cursor: string | null | undefined = ''; typeof cursor === 'string';) {
      const { body }: Reply = await api.get(`/dlq?queue=long${cursor === '' ? '' : `&cursor=${cursor}`}`);
      seen.push(idsIn(body));
      cursor = body.next_cursor;
    }
    expect(seen.flat()).toEqual(ids.toReversed());
    expect(seen.map((page) => page.length)).toEqual([3, 3, 1]);
  });
});

describe('GET /dlq with little time', () => {
  it('continues the search at the cursor, and always keeps the same order', async () => {
    const hurried = await createApiFixture({ search: { sliceRows: 2, searchMs: 0 } });
    const ids: string[] = [];
    for (const queue of ['a', 'b', 'b', 'b', 'b', 'a', 'b']) ids.push(await hurried.tasks.taskIn('FAILED', { queue }));
    await hurried.post(`/dlq/${ids[5]}/requeue`);
    const seenOf = async (query: string): Promise<string[][]> => {
      const all: string[][] = [];
      for (let cursor: string | null | undefined = ''; typeof cursor === 'string';) {
        const { body }: Reply = await hurried.get(`/dlq?${query}${cursor === '' ? '' : `&cursor=${cursor}`}`);
        all.push(idsIn(body));
        cursor = body.next_cursor;
      }
      return all;
    };
    expect(await seenOf('queue=a&requeued=any')).toEqual([[ids[5]], [], [], [ids[0]]]);
    expect(await seenOf('requeued=true')).toEqual([[ids[5]], [], [], []]);
    expect((await seenOf('requeued=false')).flat()).toEqual([6, 4, 3, 2, 1, 0].map((i) => ids[i]));
  });
});

describe('GET /dlq/{id}', () => {
  it('shows the latest dead letter of a task', async () => {
    const id = await api.tasks.taskIn('FAILED');
    await api.post(`/dlq/${id}/requeue`);
    await api.tasks.start(id);
    await api.tasks.settle(id, { verb: 'fail', error: { name: 'Error', message: 'again' }, result: null });
    expect(await api.get(`/dlq/${id}`)).toMatchObject({
      status: 200,
      body: { task_id: id, attempt: 2, requeued_at: null, errors: [{ attempt: 1 }, { attempt: 2 }] },
    });
    expect(await api.get(`/dlq/${UNKNOWN}`)).toMatchObject({ status: 404, body: { code: 'dead_letter_not_found' } });
  });
});

describe('POST /dlq/{id}/requeue', () => {
  it('makes the task runnable at its old place, only once', async () => {
    const [id] = (await failedTasks('one', 1)) as [string];
    expect(await api.post(`/dlq/${id}/requeue`)).toMatchObject({
      status: 200,
      body: { id, status: 'PENDING', requeued: true },
    });
    expect(await api.queue.counts('one')).toMatchObject({ ready: 1, nextIds: [id] });
    const { ready } = api.keys.queue('one');
    expect(await api.redis.call((client) => client.zrange(ready, '0', '-1'))).toEqual([`2:${id}`]);
    expect(await api.post(`/dlq/${id}/requeue`, {})).toMatchObject({
      status: 200,
      body: { id, status: 'PENDING', requeued: false },
    });
  });

  it('can put the task behind the waiting tasks', async () => {
    const [id] = (await failedTasks('one-back', 1)) as [string];
    const waiting = await api.tasks.submit({ queue: 'one-back' });
    await api.enqueue('one-back', waiting);
    await api.post(`/dlq/${id}/requeue`, { place: 'back' });
    await api.queue.setSettings('one-back', { version: 1, paused: false });
    const { members } = await api.queue.claim('one-back', 'w', 10);
    expect(members.map((member) => member.split(':')[1])).toEqual([waiting, id]);
  });

  it('refuses tasks without a dead letter, malformed ids and unknown fields', async () => {
    const id = await api.tasks.submit();
    expect(await api.post(`/dlq/${id}/requeue`)).toMatchObject({ status: 409, body: { code: 'not_requeueable' } });
    expect(await api.post(`/dlq/${UNKNOWN}/requeue`)).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    expect((await api.post('/dlq/x/requeue')).status).toBe(422);
    expect((await api.post(`/dlq/${id}/requeue`, { place: 'front' })).status).toBe(422);
    expect((await api.post(`/dlq/${id}/requeue`, { where: 'back' })).status).toBe(422);
  });
});

describe('POST /dlq/requeue', () => {
  it('counts on a dry run, and changes nothing', async () => {
    const [id] = (await failedTasks('dry', 3)) as [string];
    const request = { filter: { queue: 'dry' }, dry_run: true };
    expect(await api.post('/dlq/requeue', request)).toMatchObject({
      status: 200,
      body: { matched: 3, requeued: 0, dry_run: true, next_cursor: null },
    });
    expect((await api.post('/dlq/requeue', { ...request, limit: 2 })).body).toMatchObject({ matched: 2, requeued: 0 });
    expect((await api.tasks.row(id)).status).toBe('FAILED');
  });

  it('requeues matching dead letters up to a limit, and the rest when repeated', async () => {
    await failedTasks('bulk', 5);
    await failedTasks('bulk-other', 1);
    const request = { filter: { queue: 'bulk', error_contains: 'no luck' } };
    expect((await api.post('/dlq/requeue', { ...request, limit: 2 })).body).toEqual({
      matched: 2,
      requeued: 2,
      dry_run: false,
      next_cursor: expect.any(String),
    });
    const answer = { dry_run: false, next_cursor: null };
    expect((await api.post('/dlq/requeue', request)).body).toEqual({ ...answer, matched: 3, requeued: 3 });
    expect((await api.post('/dlq/requeue', request)).body).toEqual({ ...answer, matched: 0, requeued: 0 });
    expect((await api.queue.counts('bulk')).ready).toBe(5);
    expect((await api.queue.counts('bulk-other')).ready).toBe(0);
  });

  it('runs over more than one batch', async () => {
    const id = `(left(lowest_task_id(now())::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
    const text = insertTasks({ id, queue: `'batches'`, status: `'FAILED'` }, 'FROM generate_series(1, 2100) n');
    await api.tasks.database.run({ name: 'test-many', text }, []);
    const letters = `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
      SELECT id, attempt, queue, priority, 'final_error', '[]', now() FROM tasks WHERE queue = 'batches'`;
    await api.tasks.database.run({ name: 'test-many-letters', text: letters }, []);
    expect((await api.post('/dlq/requeue', { filter: { queue: 'batches' }, place: 'back' })).body).toEqual({
      matched: 2_100,
      requeued: 2_100,
      dry_run: false,
      next_cursor: null,
    });
    expect((await api.queue.counts('batches')).ready).toBe(2_100);
  });

  it('spreads the tasks at the given rate', async () => {
    const ids = await failedTasks('rate', 3);
    await api.post('/dlq/requeue', { filter: { queue: 'rate' }, rate: 0.01, place: 'back' });
    expect(await api.queue.counts('rate')).toMatchObject({ delayed: 2 });
    const rows = await Promise.all(ids.map((id) => api.tasks.row(id)));
    expect(rows.map(({ status }) => status)).toEqual(['SCHEDULED', 'SCHEDULED', 'SCHEDULED']);
    expect((rows[2]?.place_ms ?? 0) - (rows[1]?.place_ms ?? 0)).toBe(100_000);
  });

  it('continues at the cursor, and keeps one rate for the whole requeue', async () => {
    const ids = await failedTasks('goes-on', 3);
    const request = { filter: { queue: 'goes-on' }, rate: 0.01, place: 'back', limit: 1 };
    let cursor: unknown;
    do {
      const { body } = await api.post('/dlq/requeue', cursor === undefined ? request : { ...request, cursor });
      cursor = body.next_cursor;
    } while (cursor !== null);
    const places = await Promise.all(ids.map(async (id) => (await api.tasks.row(id)).place_ms));
    expect(places.slice(1).map((place, i) => place - (places[i] ?? 0))).toEqual([100_000, 100_000]);
  });

  it('refuses a forged cursor, and a cursor of another request', async () => {
    const [id] = (await failedTasks('forged', 3)) as [string];
    const inFarFuture = ['00000000-0000-0000-0000-000000000000', 0, Date.UTC(2096, 0), 0];
    const written = Buffer.from(JSON.stringify(inFarFuture)).toString('base64url');
    const request = { filter: { queue: 'forged' }, rate: 0.01, limit: 1 };
    const { body } = await api.post('/dlq/requeue', request);
    const cursor = body.next_cursor as string;
    const list = (await api.get('/dlq?queue=forged&limit=1')).body.next_cursor as string;
    const changed = [
      { ...request, cursor: written },
      { ...request, cursor: list },
      { ...request, cursor: cursor.slice(0, -2) },
      { ...request, cursor: (cursor.startsWith('AQ') ? 'AR' : 'AQ') + cursor.slice(2) },
      { ...request, cursor, filter: {} },
      { ...request, cursor, rate: 0.02 },
      { ...request, cursor, place: 'back' },
      { ...request, cursor, dry_run: true },
    ];
    for (const forged of changed) {
      expect(await api.post('/dlq/requeue', forged)).toMatchObject({
        status: 409,
        body: { code: 'invalid_cursor', errors: [{ path: '/cursor' }] },
      });
    }
    expect(await api.get(`/dlq?queue=forged&cursor=${cursor}`)).toMatchObject({
      status: 409,
      body: { code: 'invalid_cursor', errors: [{ path: 'query:cursor' }] },
    });
    expect((await api.get('/dlq?queue=forged')).body.items).toHaveLength(2);
    expect((await api.tasks.row(id)).status).toBe('SCHEDULED');
    expect(await api.post('/dlq/requeue', { ...request, cursor, limit: 2 })).toMatchObject({ body: { requeued: 2 } });
  });

  it('delays no task for more than a year at any rate', async () => {
    const ids = await failedTasks('slow', 3);
    const request = { filter: { queue: 'slow' }, rate: 0.001, limit: 1 };
    await api.post('/dlq/requeue', request);
    const dayMs = 86_400_000;
    // No real cursor has such a late start and so many tasks before it.
    const progress = {
      after: { taskId: ids[0] as string, attempt: 1 },
      baseMs: Date.now() + 400 * dayMs,
      requeued: 1_000_000,
    };
    const filter = { ...ANY_DEAD_LETTER, queue: 'slow' };
    await api.tasks.admin.requeueBatch(filter, { place: 'back', spacingMs: 1_000_000 }, progress, 10);
    for (const id of ids.slice(1)) {
      const days = ((await api.tasks.row(id)).run_at.getTime() - api.databaseNowMs()) / dayMs;
      expect(days).toBeGreaterThan(364);
      expect(days).toBeLessThanOrEqual(365.01);
    }
  });

  it.each([
    ['a NUL in the searched text', { filter: { error_contains: 'a\0' } }],
    ['a date that does not exist', { filter: { failed_before: '2026-02-30T00:00:00Z' } }],
    ['no filter', {}],
    ['an unknown filter', { filter: { color: 'red' } }],
    ['an unknown field', { filter: {}, force: true }],
    ['a rate of zero', { filter: {}, rate: 0 }],
    ['a limit that is not a whole number', { filter: {}, limit: 1.5 }],
  ])('refuses %s', async (_what, body) => {
    expect(await api.post('/dlq/requeue', body)).toMatchObject({ status: 422, body: { code: 'invalid_request' } });
  });
});
