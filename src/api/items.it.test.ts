import { beforeAll, describe, expect, it } from 'vitest';
import { as, clientsInFiles, type TestClient } from '../../test/harness/clients.ts';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../test/running-api.ts';
import { createTaskFixture, FIXTURE_WORKER, type TaskFixture } from '../../test/task-fixture.ts';
import { readConfig } from '../config/read-config.ts';
import { createWorkerRegistry } from '../engine/presence/worker-registry.ts';

/** Two teams on different queues, with all rights there, and some who have less. */
const CLIENTS = {
  email: { role: 'admin', queues: ['email.*'] },
  billing: { role: 'admin', queues: ['billing'] },
  all: { role: 'admin', queues: ['*'] },
  system: { role: 'admin', queues: ['system.webhooks'] },
  everything: { role: 'admin', queues: ['*', 'system.*'], actions: ['*', 'http.request', 'kubernetes.job'] },
  nothing: { role: 'admin', queues: [] },
  viewer: { role: 'viewer', queues: ['email.*'] },
  operator: { role: 'operator', queues: ['email.*'] },
  blind: { scopes: ['read', 'operate'], queues: ['email.*'] },
} as const satisfies Record<string, TestClient>;
type Name = keyof typeof CLIENTS;

let stores: TestStores;
let api: RunningApi;
let tasks: TaskFixture;

beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi({ ...stores.env, ...clientsInFiles(CLIENTS) });
  tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
});

const get = (name: Name, path: string): Promise<Reply> => api.request(path, { headers: as(name) });
const post = (name: Name, path: string, body: unknown = {}): Promise<Reply> => api.post(path, body, as(name));
const put = (name: Name, path: string, body: unknown): Promise<Reply> =>
  api.request(path, {
    method: 'PUT',
    headers: { ...as(name), 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const remove = (name: Name, path: string): Promise<Reply> => api.request(path, { method: 'DELETE', headers: as(name) });

/** What tells two problems apart for whoever gets them: everything but the id and the trace. */
const withoutIds = ({ status, body }: Reply, id: string) => ({
  status,
  body: { ...body, trace_id: null, detail: body.detail.replace(id, 'ID') },
});

const UNKNOWN = '019a5b3c-8f00-7000-8000-0123456789ab';

async function countTasks(): Promise<number> {
  const [row] = await api.rows<{ count: number }>('SELECT count(*)::int AS count FROM submissions');
  return row?.count ?? 0;
}

/** The queues of all tasks on all pages. */
async function queuesListed(name: Name, path: string): Promise<string[]> {
  const queues = new Set<string>();
  for (let cursor = ''; ;) {
    const { status, body } = await get(name, path + (cursor === '' ? '' : `&cursor=${cursor}`));
    expect(status).toBe(200);
    for (const item of body.items) queues.add(item.queue);
    if (body.next_cursor === null) return [...queues].toSorted();
    cursor = body.next_cursor;
  }
}

describe('POST /tasks', () => {
  it('takes tasks for the queues of the client only, and stores nothing of others', async () => {
    expect((await post('email', '/tasks', { payload: 1, queue: 'email.send' })).status).toBe(200);
    const before = await countTasks();
    for (const queue of ['billing', 'default', 'email', 'emails.send', 'never-seen']) {
      const { status, body } = await post('email', '/tasks', { payload: 1, queue });
      expect({ status, code: body.code, errors: body.errors }).toEqual({
        status: 403,
        code: 'queue_not_allowed',
        errors: [{ path: '/queue', code: 'queue_not_allowed', message: 'is not allowed', given: queue }],
      });
    }
    expect((await post('nothing', '/tasks', { payload: 1 })).body.code).toBe('queue_not_allowed');
    expect(await countTasks()).toBe(before);
    expect(await api.rows(`SELECT FROM queues WHERE name = 'never-seen'`)).toEqual([]);
  });

  it.each(['all', 'system', 'everything', 'nothing'] as const)(
    'gives the queues of the scheduler to nobody: %s',
    async (name) => {
      const { status, body } = await post(name, '/tasks', { payload: 1, queue: 'system.webhooks' });
      expect([status, body.errors[0].path, body.errors[0].code]).toEqual([422, '/queue', 'reserved_queue']);
    },
  );

  it('takes the actions of the client only; a task without an action has the action `simulate`', async () => {
    const submit = async (name: Name, task: object) => {
      const { status, body } = await post(name, '/tasks', { payload: {}, queue: 'email.send', ...task });
      return status === 200 ? 200 : `${body.code} ${body.errors[0].path} ${body.errors[0].given}`;
    };
    const http = { action: 'http.request', payload: { url: 'http://127.0.0.1:1/' } };
    expect(await submit('email', { action: 'send' })).toBe(200);
    expect(await submit('email', {})).toBe(200);
    expect(await submit('email', http)).toBe('action_not_allowed /action http.request');
    expect(await submit('email', { payload: { action: 'kubernetes.job', image: 'a' } })).toBe(
      'action_not_allowed /payload/action kubernetes.job',
    );
    expect(await submit('everything', http)).toBe(200);
  });

  it('refuses a batch as a whole, and names each task that is not allowed', async () => {
    const before = await countTasks();
    const batch = { tasks: ['email.a', 'billing', 'email.b', 'default'].map((queue) => ({ payload: 1, queue })) };
    const { status, body } = await post('email', '/tasks/batch', batch);
    expect([status, body.code]).toEqual([403, 'queue_not_allowed']);
    expect(body.errors.map(({ path, given }: { path: string; given: string }) => [path, given])).toEqual([
      ['/tasks/1/queue', 'billing'],
      ['/tasks/3/queue', 'default'],
    ]);
    const actions = { tasks: ['send', 'kubernetes.job'].map((action) => ({ payload: {}, queue: 'email.a', action })) };
    const refused = await post('email', '/tasks/batch', {
      tasks: actions.tasks.map((task, i) => (i === 0 ? task : { ...task, payload: { image: 'busybox' } })),
    });
    expect([refused.status, refused.body.errors.map(({ path }: { path: string }) => path)]).toEqual([
      403,
      ['/tasks/1/action'],
    ]);
    const reserved = { tasks: ['email.a', 'system.a'].map((queue) => ({ payload: 1, queue })) };
    expect((await post('everything', '/tasks/batch', reserved)).body.errors[0].path).toBe('/tasks/1/queue');
    expect(await countTasks()).toBe(before);
    const allowed = await post('email', '/tasks/batch', { tasks: [batch.tasks[0], batch.tasks[2]] });
    expect(allowed.status).toBe(200);
  });

  it('lists the first hundred of many forbidden tasks', async () => {
    const { body } = await post('email', '/tasks/batch', {
      tasks: Array.from({ length: 150 }, () => ({ payload: 1, queue: 'billing' })),
    });
    expect([body.errors.length, body.detail]).toEqual([100, expect.stringContaining('150 tasks')]);
  });

  it('echoes to a client without the scope `payload` what it submitted itself', async () => {
    const sender = await startApi({ ...stores.env, ...clientsInFiles({ sender: { role: 'submitter' } }) });
    const { body } = await sender.post('/tasks', { payload: { mine: 1 } }, as('sender'));
    expect(body.payload).toEqual({ mine: 1 });
    const batch = await sender.post('/tasks/batch', { tasks: [{ payload: { mine: 2 } }] }, as('sender'));
    expect(batch.body.tasks[0].payload).toEqual({ mine: 2 });
    const read = await sender.request(`/tasks/${body.id}`, { headers: as('sender') });
    expect([read.body.payload, read.body.redacted]).toEqual([null, true]);
  });
});

describe('one task', () => {
  const ROUTES: [string, (name: Name, id: string) => Promise<Reply>][] = [
    ['GET /tasks/{id}', (name, id) => get(name, `/tasks/${id}`)],
    ['GET /tasks/{id}/logs', (name, id) => get(name, `/tasks/${id}/logs`)],
    ['POST /tasks/{id}/cancel', (name, id) => post(name, `/tasks/${id}/cancel`)],
    ['GET /dlq/{id}', (name, id) => get(name, `/dlq/${id}`)],
    ['POST /dlq/{id}/requeue', (name, id) => post(name, `/dlq/${id}/requeue`)],
  ];

  it.each(ROUTES)('%s answers for a task of others as for an unknown one, and changes nothing', async (_route, ask) => {
    for (const status of ['PENDING', 'PROCESSING', 'COMPLETED', 'FAILED'] as const) {
      const id = await tasks.taskIn(status, { queue: 'billing' });
      const before = await tasks.row(id);
      for (const name of ['email', 'nothing', 'system'] as const) {
        const foreign = await ask(name, id);
        expect(foreign.status).toBe(404);
        expect(withoutIds(foreign, id)).toEqual(withoutIds(await ask(name, UNKNOWN), UNKNOWN));
      }
      expect(await tasks.row(id)).toEqual(before);
    }
  });

  it('is there for clients whose patterns match', async () => {
    for (const name of ['billing', 'all', 'everything'] as const) {
      const failed = await tasks.taskIn('FAILED', { queue: 'billing' });
      expect((await get(name, `/tasks/${failed}`)).body.id).toBe(failed);
      expect((await get(name, `/tasks/${failed}/logs`)).body.items).toHaveLength(1);
      expect((await get(name, `/dlq/${failed}`)).body.task_id).toBe(failed);
      expect((await post(name, `/dlq/${failed}/requeue`)).body.requeued).toBe(true);
      expect((await post(name, `/tasks/${failed}/cancel`)).body.status).toBe('CANCELLED');
    }
  });

  it('in a queue of the scheduler is there only if a pattern names the queue', async () => {
    const id = await tasks.taskIn('COMPLETED', { queue: 'system.webhooks' });
    const statuses = await Promise.all(
      (['all', 'email', 'system', 'everything'] as const).map(async (name) => (await get(name, `/tasks/${id}`)).status),
    );
    expect(statuses).toEqual([404, 404, 200, 200]);
  });
});

describe('lists of tasks', () => {
  const metadata = { customer: '4711' };

  beforeAll(async () => {
    for (const queue of ['email.send', 'billing', 'default', 'system.webhooks']) {
      for (let i = 0; i < 3; i++) {
        await tasks.taskIn(i === 0 ? 'COMPLETED' : 'PENDING', { queue, group: 'g', metadata, traceId: 'one-trace' });
      }
    }
  });

  it.each([
    '',
    'status=PENDING',
    'status=COMPLETED,PENDING',
    'group=g',
    'metadata.customer=4711',
    'metadata.customer=4711&group=g&status=COMPLETED',
    'trace_id=one-trace',
    'priority=Medium',
  ])('with the filter "%s" have only what the client may see, on every page', async (filter) => {
    const path = `/tasks?limit=2&${filter}`;
    expect(await queuesListed('billing', path)).toEqual(['billing']);
    expect((await queuesListed('email', path)).every((queue) => queue.startsWith('email.'))).toBe(true);
    expect(await queuesListed('email', path)).toContain('email.send');
    expect(await queuesListed('all', path)).toEqual(expect.arrayContaining(['billing', 'default', 'email.send']));
    expect(await queuesListed('all', path)).not.toContain('system.webhooks');
    expect(await queuesListed('system', path)).toEqual(['system.webhooks']);
    expect(await queuesListed('everything', path)).toContain('system.webhooks');
    expect(await queuesListed('nothing', path)).toEqual([]);
  });

  it('are empty for a queue of others, whether or not it exists', async () => {
    for (const queue of ['billing', 'never-seen', 'system.webhooks']) {
      expect((await get('email', `/tasks?queue=${queue}`)).body).toEqual({ items: [], next_cursor: null });
    }
    expect((await get('all', '/tasks?queue=system.webhooks')).body.items).toEqual([]);
  });

  it('by an idempotency key have the tasks of the client that used it', async () => {
    const headers = { 'idempotency-key': 'shared-text' };
    const { body } = await api.post('/tasks', { payload: 1, queue: 'email.send' }, { ...as('email'), ...headers });
    expect((await get('email', '/tasks?idempotency_key=shared-text')).body.items[0].id).toBe(body.id);
    expect((await get('billing', '/tasks?idempotency_key=shared-text')).body.items).toEqual([]);
  });

  it('go on at the cursor of another client, each with what that client may see', async () => {
    const idsFrom = async (name: Name, cursor: string | null): Promise<string[]> => {
      const ids: string[] = [];
      for (let next = cursor; next !== null;) {
        const { status, body } = await get(name, `/tasks?limit=2&group=g&cursor=${next}`);
        expect(status).toBe(200);
        ids.push(...body.items.map(({ id }: { id: string }) => id));
        next = body.next_cursor;
      }
      return ids;
    };
    const first = async (name: Name) => (await get(name, '/tasks?limit=2&group=g')).body;
    for (const [one, other] of [
      ['billing', 'email'],
      ['email', 'billing'],
      ['everything', 'email'],
    ] as const) {
      const shared = await first(one);
      const own = new Set(
        (await get(other, '/tasks?limit=200&group=g')).body.items.map(({ id }: { id: string }) => id),
      );
      const last = shared.items.at(-1).id;
      const seen = await idsFrom(other, shared.next_cursor);
      expect(seen).toEqual([...own].filter((id) => (id as string) < last));
      expect(seen.every((id) => own.has(id))).toBe(true);
    }
  });
});

describe('dead letters', () => {
  beforeAll(async () => {
    for (const queue of ['email.send', 'email.send', 'billing', 'default', 'system.webhooks'])
      await tasks.taskIn('FAILED', { queue });
  });

  it.each(['', 'requeued=any', 'reason=final_error'])('in a list with "%s" are those of the client', async (filter) => {
    const path = `/dlq?limit=1&${filter}`;
    expect(await queuesListed('email', path)).toEqual(['email.send']);
    expect(await queuesListed('billing', path)).toEqual(['billing']);
    expect(await queuesListed('all', path)).not.toContain('system.webhooks');
    expect(await queuesListed('everything', path)).toContain('system.webhooks');
    expect(await queuesListed('nothing', path)).toEqual([]);
    const shared = (await get('everything', path)).body.next_cursor;
    const { body } = await get('billing', `${path}&cursor=${shared}`);
    expect(body.items.every(({ queue }: { queue: string }) => queue === 'billing')).toBe(true);
    expect((await get('email', '/dlq?queue=billing')).body.items).toEqual([]);
  });

  it('are counted and requeued only if they belong to the client, in every part', async () => {
    const open = async () =>
      Object.fromEntries(
        (
          await api.rows<{ queue: string; count: number }>(
            'SELECT queue, count(*)::int AS count FROM dlq WHERE requeued_at IS NULL GROUP BY queue',
          )
        ).map(({ queue, count }) => [queue, count]),
      );
    const before = await open();
    const dry = await post('email', '/dlq/requeue', { filter: {}, dry_run: true });
    expect([dry.body.matched, dry.body.requeued]).toEqual([before['email.send'], 0]);
    let requeued = 0;
    let cursor: string | null | undefined;
    do {
      const { status, body } = await post('email', '/dlq/requeue', { filter: {}, limit: 1, cursor });
      expect(status).toBe(200);
      requeued += body.requeued;
      cursor = body.next_cursor;
      // The cursor opens nothing for somebody else.
      const foreign = await post('nothing', '/dlq/requeue', { filter: {}, limit: 1, cursor: cursor ?? undefined });
      expect([foreign.body.matched, foreign.body.requeued]).toEqual([0, 0]);
    } while (cursor !== null);
    const { 'email.send': own, ...others } = before;
    expect(requeued).toBe(own);
    expect(await open()).toEqual(others);
    expect((await post('nothing', '/dlq/requeue', { filter: {} })).body.matched).toBe(0);
  });

  it('of a queue that the request names are refused if it is not the client’s, known or not', async () => {
    for (const queue of ['billing', 'never-seen']) {
      for (const dry_run of [true, false]) {
        const { status, body } = await post('email', '/dlq/requeue', { filter: { queue }, dry_run });
        expect([status, body.code, body.detail]).toEqual([403, 'queue_not_allowed', expect.stringContaining(queue)]);
      }
    }
  });
});

describe('queues', () => {
  const ACTIONS: [string, (name: Name, queue: string) => Promise<Reply>][] = [
    ['GET', (name, queue) => get(name, `/queues/${queue}`)],
    ['PUT', (name, queue) => put(name, `/queues/${queue}`, { keep_completed: false })],
    ['DELETE', (name, queue) => remove(name, `/queues/${queue}`)],
    ['pause', (name, queue) => post(name, `/queues/${queue}/pause`)],
    ['resume', (name, queue) => post(name, `/queues/${queue}/resume`)],
  ];

  it.each(ACTIONS)('%s of a queue of others is refused, whether or not it exists', async (_verb, ask) => {
    await tasks.taskIn('PENDING', { queue: 'billing' });
    const before = await api.rows('SELECT name, paused, keep_completed, version FROM queues ORDER BY name');
    const known = await ask('email', 'billing');
    const unknown = await ask('email', 'xilling');
    expect([known.status, known.body.code]).toEqual([403, 'queue_not_allowed']);
    expect(withoutIds(known, 'billing')).toEqual(withoutIds(unknown, 'xilling'));
    expect((await ask('email', 'email.unknown')).body.code).toBe('queue_not_found');
    expect((await ask('all', 'system.webhooks')).body.code).toBe('queue_not_allowed');
    expect(await api.rows('SELECT name, paused, keep_completed, version FROM queues ORDER BY name')).toEqual(before);
  });

  it('of a client can be changed by it', async () => {
    await tasks.taskIn('PENDING', { queue: 'email.own' });
    expect((await post('email', '/queues/email.own/pause')).body.paused).toBe(true);
    expect((await put('email', '/queues/email.own', { keep_completed: false })).body.keep_completed).toBe(false);
    expect((await post('email', '/queues/email.own/resume')).body.paused).toBe(false);
    expect((await remove('email', '/queues/email.own')).body.code).toBe('queue_in_use');
  });

  it('in the list and in the overview are those of the client', async () => {
    for (const queue of ['email.send', 'billing', 'system.webhooks']) await tasks.taskIn('PENDING', { queue });
    const names = async (name: Name, path: string, member: string) =>
      (await get(name, path)).body[member].map((queue: { name: string }) => queue.name);
    for (const [path, member] of [
      ['/queues', 'items'],
      ['/stats', 'queues'],
    ] as const) {
      expect((await names('email', path, member)).every((queue: string) => queue.startsWith('email.'))).toBe(true);
      expect(await names('billing', path, member)).toEqual(['billing']);
      expect(await names('nothing', path, member)).toEqual([]);
      expect(await names('all', path, member)).toEqual(expect.arrayContaining(['billing', 'default']));
      expect(await names('all', path, member)).not.toContain('system.webhooks');
      expect(await names('everything', path, member)).toContain('system.webhooks');
    }
  });

  it('that the client does not see are in no total', async () => {
    for (const name of ['email', 'nothing'] as const) {
      const { body } = await get(name, '/stats');
      expect([body.tasks, body.open_dead_letters, body.stores.postgresql]).toEqual([null, null, 'up']);
    }
    // The tasks of the scheduler's own queues are the only difference between the two.
    const [all, everything] = await Promise.all([get('all', '/stats'), get('everything', '/stats')]);
    const [hidden] = await api.rows<{ tasks: number; letters: number }>(`
      SELECT (SELECT count(*)::int FROM unfinished WHERE queue LIKE 'system.%') AS tasks,
             (SELECT count(*)::int FROM dlq WHERE queue LIKE 'system.%' AND requeued_at IS NULL) AS letters`);
    const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((one, other) => one + other);
    expect(hidden?.tasks).toBeGreaterThan(0);
    expect(sum(everything.body.tasks) - sum(all.body.tasks)).toBe(hidden?.tasks);
    expect(everything.body.open_dead_letters - all.body.open_dead_letters).toBe(hidden?.letters);
    expect(all.body.tasks.PENDING).toBeGreaterThan(0);
  });
});

describe('workers', () => {
  const WORKER = {
    host: 'h',
    pid: 1,
    slots: 10,
    busy: 4,
    startedAt: '2026-11-24T09:30:00.000Z',
    draining: false,
  };

  beforeAll(async () => {
    const config = readConfig(stores.env);
    const registry = createWorkerRegistry(api.process.redis, api.process.keys);
    const beat = (id: string, queues: string[]) => registry.beat({ ...WORKER, id, queues }, config);
    await beat('both', ['email.send', 'billing']);
    await beat('mailer', ['email.send']);
    await beat('biller', ['billing']);
    const ended = { ...WORKER, id: 'ended', queues: ['email.send', 'billing'] };
    await registry.beat(ended, config);
    await registry.end(ended, { reason: 'exit', message: 'the handler of a task of billing' });
  });

  const listed = async (name: Name) =>
    Object.fromEntries((await get(name, '/workers')).body.items.map((worker: { id: string }) => [worker.id, worker]));

  it('are shown if they serve a queue of the client, with those queues and nothing of others', async () => {
    const email = await listed('email');
    expect(email['mailer']).toMatchObject({ queues: ['email.send'], busy: 4 });
    expect(email['both']).toMatchObject({ queues: ['email.send'], busy: null });
    expect(email['ended'].end).toBeNull();
    expect(email['biller']).toBeUndefined();
    expect((await listed('everything'))['both']).toMatchObject({ queues: ['email.send', 'billing'], busy: 4 });
    expect((await listed('everything'))['ended'].end).toBe('the handler of a task of billing');
    expect(await listed('nothing')).toEqual({});
  });

  it('show the tasks that they hold, of queues of the client', async () => {
    const own = await tasks.taskIn('PROCESSING', { queue: 'email.send' });
    const other = await tasks.taskIn('PROCESSING', { queue: 'billing' });
    const heldBy = async (name: Name): Promise<string[]> => (await listed(name))[FIXTURE_WORKER]?.holds.task_ids ?? [];
    // Nothing is known of this worker but that it holds tasks.
    expect(await heldBy('email')).toContain(own);
    expect(await heldBy('email')).not.toContain(other);
    expect(await heldBy('billing')).toContain(other);
    expect(await heldBy('everything')).toEqual(expect.arrayContaining([own, other]));
    expect((await listed('nothing'))[FIXTURE_WORKER]).toBeUndefined();
  });
});

describe('contents', () => {
  const SECRET = 'card 4111';
  let completed: string;
  let failed: string;

  beforeAll(async () => {
    const secret = { queue: 'email.send', payload: JSON.stringify({ SECRET }), group: 'secret' };
    completed = await tasks.taskIn('PROCESSING', secret);
    await tasks.store.recordProgress(FIXTURE_WORKER, [{ id: completed, attempt: 1, progress: JSON.stringify(SECRET) }]);
    await tasks.settle(completed, { verb: 'complete', result: JSON.stringify({ SECRET }) });
    failed = await tasks.taskIn('PROCESSING', secret);
    const error = {
      name: 'CardError',
      code: 'E_CARD',
      message: SECRET,
      stack: `CardError: ${SECRET}\n    at f (/srv/app/f.js:1:2)`,
    };
    await tasks.settle(failed, { verb: 'fail', error, result: null });
  });

  const paths = () => [
    `/tasks/${completed}`,
    `/tasks/${failed}`,
    `/tasks/${completed}/logs`,
    `/tasks/${failed}/logs`,
    `/dlq/${failed}`,
    '/tasks?group=secret',
    '/dlq?queue=email.send',
  ];

  it('are hidden without the scope `payload`, on every way out', async () => {
    for (const name of ['viewer', 'blind'] as const) {
      for (const path of paths()) {
        const { status, body } = await get(name, path);
        const text = JSON.stringify(body);
        expect([path, status, text.includes('4111'), text.includes('"redacted":true')]).toEqual([
          path,
          200,
          false,
          true,
        ]);
      }
    }
    const { body: done } = await get('viewer', `/tasks/${completed}`);
    expect([done.payload, done.progress, done.attempts[0].result, done.attempts[0].outcome]).toEqual([
      null,
      null,
      null,
      'COMPLETED',
    ]);
    const { body: letter } = await get('viewer', `/dlq/${failed}`);
    expect(letter.errors[0].error).toEqual({ name: 'CardError', code: 'E_CARD' });
    const { body: attempts } = await get('viewer', `/tasks/${failed}/logs`);
    expect(attempts.items[0].error).toEqual({ name: 'CardError', code: 'E_CARD' });
  });

  it('are shown with the scope `payload`, but paths of the server only with `admin`', async () => {
    for (const path of paths()) {
      for (const name of ['operator', 'email'] as const) {
        const text = JSON.stringify((await get(name, path)).body);
        expect([path, name, text.includes('redacted')]).toEqual([path, name, false]);
        expect([path, name, text.includes('/srv/app')]).toEqual([
          path,
          name,
          name === 'email' && text.includes('stack'),
        ]);
      }
    }
    const { body: done } = await get('operator', `/tasks/${completed}`);
    expect([done.payload, done.progress, done.attempts[0].result]).toEqual([{ SECRET }, SECRET, { SECRET }]);
    const { body: letter } = await get('operator', `/dlq/${failed}`);
    expect(letter.errors[0].error).toMatchObject({
      message: SECRET,
      stack: `CardError: ${SECRET}\n    at f (f.js:1:2)`,
    });
  });

  it('can be asked for, or filtered by, only by who may see them', async () => {
    const include = await get('viewer', '/tasks?include=payload');
    expect([include.status, include.body.code, include.body.detail]).toEqual([
      403,
      'missing_scope',
      expect.stringContaining('`payload`'),
    ]);
    expect((await get('operator', '/tasks?group=secret&include=payload')).body.items[0].payload).toEqual({ SECRET });
    for (const dry_run of [true, false]) {
      const guess = await post('blind', '/dlq/requeue', { filter: { error_contains: '4111' }, dry_run });
      expect([guess.status, guess.body.code]).toEqual([403, 'missing_scope']);
    }
    const found = await post('operator', '/dlq/requeue', { filter: { error_contains: '4111' }, dry_run: true });
    expect(found.body.matched).toBe(1);
  });
});
