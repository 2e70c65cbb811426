import { beforeAll, describe, expect, it } from 'vitest';
import { as, clientsInFiles, type TestClient } from '../../test/harness/clients.ts';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../test/running-api.ts';
import { createTaskFixture, FIXTURE_WORKER, type TaskFixture } from '../../test/task-fixture.ts';

const CLIENTS = {
  owner: { role: 'admin', actions: ['*', 'http.request'] },
  operator: { role: 'operator' },
  viewer: { role: 'viewer' },
  submitter: { role: 'submitter' },
  // Somebody who may do everything but see contents.
  blind: { scopes: ['submit', 'read', 'operate', 'admin'] },
} as const satisfies Record<string, TestClient>;
type Name = keyof typeof CLIENTS;

const SETTINGS = {
  REDACTED_FIELDS: JSON.stringify({
    'payment.charge': ['$.card.number', '$.items[*].sku', "$['odd name']"],
    'payment.*': ['$..iban'],
  }),
  PRIVATE_METADATA: 'customer, e-mail',
};

let stores: TestStores;
let api: RunningApi;
let tasks: TaskFixture;

beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi({ ...stores.env, ...SETTINGS, ...clientsInFiles(CLIENTS) });
  tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
});

const get = (name: Name, path: string): Promise<Reply> => api.request(path, { headers: as(name) });
const post = (name: Name, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> =>
  api.post(path, body, { ...as(name), ...headers });
/** The answer as it was sent, since a parser changes numbers. */
async function textOf(name: Name, path: string): Promise<string> {
  return (await fetch(api.url + path, { headers: as(name) })).text();
}

const PAYLOAD =
  '{"card":{"number":"4111-canary","holder":"x"},"items":[{"sku":"sku-canary","n":1.0}],"odd name":"odd-canary",' +
  '"to":{"iban":"iban-canary"},"big":12345678901234567890}';
const SHOWN =
  '{"card":{"number":"[redacted]","holder":"x"},"items":[{"sku":"[redacted]","n":1.0}],"odd name":"[redacted]",' +
  '"to":{"iban":"[redacted]"},"big":12345678901234567890}';
const HITS = ['.card.number', '.items[*].sku', "['odd name']", '..iban'];
const hitsIn = (...parts: string[]): string[] => parts.flatMap((part) => HITS.map((hit) => part + hit));

/** A task that has run, with the same text as payload, result and progress. */
async function charged(action = 'payment.charge', metadata: Record<string, string> | null = null): Promise<string> {
  const id = await tasks.taskIn('PROCESSING', { queue: 'pay', action, payload: PAYLOAD, metadata });
  await tasks.store.recordProgress(FIXTURE_WORKER, [{ id, attempt: 1, progress: PAYLOAD }]);
  await tasks.settle(id, { verb: 'complete', result: PAYLOAD });
  return id;
}

describe('redacted fields', () => {
  it.each(['operator', 'owner'] as const)(
    'are hidden from a client with `payload` on every way out: %s',
    async (name) => {
      const id = await charged();
      const paths = [`/tasks/${id}`, '/tasks?include=payload&queue=pay&limit=1', `/tasks/${id}/logs`];
      for (const path of paths) expect([path, (await textOf(name, path)).match(/\w+-canary/g)]).toEqual([path, null]);
      const task = await textOf(name, `/tasks/${id}`);
      expect(task.split(SHOWN)).toHaveLength(4);
      const { body } = await get(name, `/tasks/${id}`);
      expect(body.redacted).toBeUndefined();
      expect(body.redacted_fields.toSorted()).toEqual(hitsIn('payload', 'progress').toSorted());
      expect(body.attempts[0].redacted_fields.toSorted()).toEqual(hitsIn('result').toSorted());
      const listed = (await get(name, '/tasks?queue=pay&limit=1')).body.items[0];
      expect([listed.payload, listed.redacted_fields.toSorted()]).toEqual([undefined, hitsIn('progress').toSorted()]);
      const { body: logs } = await get(name, `/tasks/${id}/logs`);
      expect([logs.items[0].result.card.number, logs.items[0].redacted_fields.length]).toEqual(['[redacted]', 4]);
    },
  );

  it('are those of the patterns that match the action; the text of other actions goes through as it is', async () => {
    const refund = await textOf('operator', `/tasks/${await charged('payment.refund')}`);
    expect([...new Set(refund.match(/\w+-canary/g))].toSorted()).toEqual(['4111-canary', 'odd-canary', 'sku-canary']);
    const other = await charged('mail');
    expect((await textOf('operator', `/tasks/${other}`)).split(PAYLOAD)).toHaveLength(4);
    expect((await get('operator', `/tasks/${other}`)).body.redacted_fields).toBeUndefined();
  });

  it('are hidden in the answers to submissions, new and repeated, single and in batches', async () => {
    const task = { action: 'payment.charge', payload: { ...(JSON.parse(PAYLOAD) as object), big: 1 }, queue: 'pay' };
    const key = { 'idempotency-key': 'private' };
    for (const replayed of [null, 'true']) {
      const reply = await post('submitter', '/tasks', task, key);
      expect([reply.status, reply.headers.get('idempotency-replayed')]).toEqual([200, replayed]);
      expect(JSON.stringify(reply.body)).not.toContain('canary');
      expect(reply.body).toMatchObject({ payload: { card: { number: '[redacted]', holder: 'x' } }, queue: 'pay' });
      expect(reply.body.redacted_fields.toSorted()).toEqual(hitsIn('payload').toSorted());
    }
    const batch = {
      tasks: [task, { payload: { card: { number: 'shown' } } }, { ...task, idempotency_key: 'private' }],
    };
    const { status, body } = await post('submitter', '/tasks/batch', batch);
    expect([status, JSON.stringify(body).includes('canary')]).toEqual([200, false]);
    expect(body.tasks.map((one: { replayed: boolean }) => one.replayed)).toEqual([false, false, true]);
    expect(body.tasks.map((one: { redacted_fields?: string[] }) => one.redacted_fields?.length)).toEqual([
      4,
      undefined,
      4,
    ]);
    expect(body.tasks[1].payload).toEqual({ card: { number: 'shown' } });
    // What is stored is whole.
    const [stored] = await api.rows<{ payload: string }>('SELECT payload::text FROM submissions WHERE id = $1', [
      body.tasks[0].id,
    ]);
    expect(stored?.payload).toContain('4111-canary');
  });

  it('protect tasks that name their action in the payload, or no action at all', async () => {
    const own = await startApi({ ...stores.env, REDACTED_FIELDS: '{"simulate": ["$.pin"], "by.payload": ["$.pin"]}' });
    for (const payload of [{ pin: 'canary' }, { pin: 'canary', action: 'by.payload' }]) {
      const { body } = await own.post('/tasks', { payload });
      expect(body.payload.pin).toBe('[redacted]');
      expect((await own.request(`/tasks/${body.id}`)).body.payload.pin).toBe('[redacted]');
    }
  });

  it('stay hidden while the payload has another form than the paths expect', async () => {
    const forms = [
      '{"card":{"number":"canary"},"card":{"number":"canary"}}',
      String.raw`{"c\u0061rd":{"n\u0075mber":"canary"}}`,
      '{"card":"canary"}',
      '{"card":["canary"]}',
      '"canary"',
      '["canary"]',
    ];
    for (const payload of forms) {
      const id = await tasks.submit({ action: 'payment.charge', payload });
      const text = await textOf('owner', `/tasks/${id}`);
      expect([payload, text.includes('canary'), text.includes('[redacted]')]).toEqual([payload, false, true]);
    }
  });

  it('do not hide anything that a task does not have, and leave a percentage alone', async () => {
    const id = await tasks.taskIn('PROCESSING', { action: 'payment.charge', payload: '{"n":1.50}' });
    await tasks.store.recordProgress(FIXTURE_WORKER, [{ id, attempt: 1, progress: '0.50' }]);
    expect(await textOf('operator', `/tasks/${id}`)).toMatch(/"payload":\{"n":1\.50\}.*"progress":0\.50/);
    expect((await get('operator', `/tasks/${id}`)).body.redacted_fields).toBeUndefined();
  });

  it('change nothing for a client without `payload`', async () => {
    const id = await charged();
    const { body } = await get('viewer', `/tasks/${id}`);
    expect([body.payload, body.progress, body.redacted, body.redacted_fields]).toEqual([null, null, true, undefined]);
    expect((await get('viewer', `/tasks/${tasks.newTask().id}/logs`)).status).toBe(404);
    expect((await get('operator', `/tasks/${tasks.newTask().id}/logs`)).status).toBe(404);
  });
});

describe('private metadata', () => {
  const metadata = { customer: 'customer-canary', 'e-mail': 'mail-canary', team: 'blue' };
  let id: string;

  beforeAll(async () => {
    id = await charged('mail', metadata);
    for (let i = 0; i < 3; i++) await tasks.submit({ queue: 'meta', metadata });
  });

  it.each(['viewer', 'blind', 'submitter'] as const)('are hidden from %s, and named', async (name) => {
    for (const path of [`/tasks/${id}`, '/tasks?queue=meta', '/tasks?metadata.team=blue'])
      expect([path, (await textOf(name, path)).match(/\w+-canary/g)]).toEqual([path, null]);
    const { body } = await get(name, `/tasks/${id}`);
    expect([body.metadata, body.redacted, body.redacted_fields]).toEqual([
      { customer: '[redacted]', 'e-mail': '[redacted]', team: 'blue' },
      true,
      ['metadata.customer', 'metadata.e-mail'],
    ]);
  });

  it('are shown with `payload`', async () => {
    const { body } = await get('operator', `/tasks/${id}`);
    expect([body.metadata, body.redacted_fields]).toEqual([metadata, undefined]);
  });

  it('can be filtered by only with `payload`, whether or not anything matches, and with any cursor', async () => {
    const { body: page } = await get('operator', '/tasks?metadata.customer=customer-canary&limit=1');
    expect(page.next_cursor).toBeTypeOf('string');
    const queries = [
      'metadata.customer=customer-canary',
      'metadata.customer=nobody',
      'metadata.team=blue&metadata.e-mail=x',
      'queue=unknown&metadata.customer=x',
      `metadata.customer=customer-canary&limit=1&cursor=${page.next_cursor}`,
      `metadata.customer=customer-canary&cursor=${'A'.repeat(60)}`,
    ];
    for (const query of queries) {
      for (const name of ['viewer', 'blind'] as const) {
        const { status, body } = await get(name, `/tasks?${query}`);
        expect([query, status, body.code]).toEqual([query, 403, 'missing_scope']);
        expect(body.detail).toMatch(/lacks the scope `payload`, which `metadata\.(customer|e-mail)` needs/);
      }
    }
    // The cursor belongs to its filter, so without the filter it opens nothing.
    expect((await get('viewer', `/tasks?limit=1&cursor=${page.next_cursor}`)).body.code).toBe('invalid_cursor');
    expect((await get('viewer', '/tasks?metadata.team=blue')).body.items).toHaveLength(4);
    expect((await get('viewer', '/tasks?metadata.Customer=customer-canary')).body.items).toEqual([]);
  });

  it('are hidden in the answers to submissions of a client without `payload`', async () => {
    const { body } = await post('submitter', '/tasks', { payload: { mine: 1 }, metadata });
    expect(body).toMatchObject({
      payload: { mine: 1 },
      metadata: { customer: '[redacted]', team: 'blue' },
      redacted_fields: ['metadata.customer', 'metadata.e-mail'],
    });
    expect((await post('owner', '/tasks', { payload: 1, metadata })).body.metadata).toEqual(metadata);
  });

  it('may be all members', async () => {
    const all = await startApi({
      ...stores.env,
      PRIVATE_METADATA: '*',
      ...clientsInFiles({ viewer: { role: 'viewer' } }),
    });
    const { body } = await all.request(`/tasks/${id}`, { headers: as('viewer') });
    expect([body.metadata, body.redacted_fields]).toEqual([
      { customer: '[redacted]', 'e-mail': '[redacted]', team: '[redacted]' },
      ['metadata.*'],
    ]);
    expect((await all.request('/tasks?metadata.team=blue', { headers: as('viewer') })).status).toBe(403);
  });
});

describe('what the texts of errors contain', () => {
  beforeAll(async () => {
    const id = await tasks.taskIn('PROCESSING', { queue: 'errors' });
    const frame = '    at f (/srv/secret-place/f.js:1:1)';
    const error = {
      name: 'CardError',
      message: `refused\nError: quoted\n${frame}`,
      stack: `CardError: refused\n${frame}`,
    };
    await tasks.settle(id, { verb: 'fail', error, result: null });
  });

  const matched = async (name: Name, error_contains: string): Promise<unknown> => {
    const filter = { queue: 'errors', error_contains };
    const { status, body } = await post(name, '/dlq/requeue', { filter, dry_run: true });
    return status === 200 ? body.matched : body.code;
  };

  it('is found by those who see it, and directories of the server only with `admin`', async () => {
    expect(
      await Promise.all(['refused', 'CardError', 'secret-place'].map((text) => matched('operator', text))),
    ).toEqual([1, 1, 0]);
    expect(await Promise.all(['refused', 'CardError', 'secret-place'].map((text) => matched('owner', text)))).toEqual([
      1, 1, 1,
    ]);
    expect(await matched('blind', 'refused')).toBe('missing_scope');
    const { body } = await get('operator', '/dlq?queue=errors');
    expect(JSON.stringify(body)).not.toContain('secret-place');
    expect(body.items[0].errors[0].error.message).toBe('refused\nError: quoted\n    at f (f.js:1:1)');
  });

  it('is not in the audit log of a client that does not see contents', async () => {
    await post('operator', '/dlq/requeue', { filter: { queue: 'errors', error_contains: 'refused' } });
    const [mine] = (await get('owner', '/audit?action=dlq.requeue')).body.items;
    expect(mine.details.filter).toEqual({ queue: 'errors', error_contains: 'refused' });
    expect(mine.redacted_fields).toBeUndefined();
    const [theirs] = (await get('blind', '/audit?action=dlq.requeue')).body.items;
    expect(theirs).toEqual({
      ...mine,
      details: { ...mine.details, filter: { queue: 'errors', error_contains: '[redacted]' } },
      redacted_fields: ['details.filter.error_contains'],
    });
  });
});
