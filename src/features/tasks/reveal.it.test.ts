import { beforeAll, describe, expect, it } from 'vitest';
import { as, clientsInFiles, type TestClient } from '../../../test/harness/clients.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { anActor } from '../../../test/harness/task-stores.ts';
import { startApi, type Reply, type RunningApi } from '../../../test/running-api.ts';
import { createTaskFixture, FIXTURE_WORKER, type TaskFixture } from '../../../test/task-fixture.ts';
import { createRevealStore } from './reveal-store.ts';

const CLIENTS = {
  owner: { role: 'admin', queues: ['mine', 'other'] },
  operator: { role: 'operator', queues: ['mine'] },
  blind: { scopes: ['read', 'admin'], queues: ['mine'] },
  elsewhere: { role: 'admin', queues: ['other'] },
} as const satisfies Record<string, TestClient>;
type Name = keyof typeof CLIENTS;

let stores: TestStores;
let api: RunningApi;
let tasks: TaskFixture;

beforeAll(async () => {
  stores = await createTestStores();
  const hidden = { REDACTED_FIELDS: '{"*": ["$..pin"]}' };
  api = await startApi({ ...stores.env, ...hidden, ...clientsInFiles(CLIENTS) });
  tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
});

const PAYLOAD = '{"pin":4111222233334444,"n":1.0,"big":12345678901234567890}';
const RESULT = '{"pin":"of the result"}';
const PROGRESS = '{"pin":"of the progress"}';

async function completed(): Promise<string> {
  const id = await tasks.taskIn('PROCESSING', { queue: 'mine', payload: PAYLOAD });
  await tasks.store.recordProgress(FIXTURE_WORKER, [{ id, attempt: 1, progress: PROGRESS }]);
  await tasks.settle(id, { verb: 'complete', result: RESULT });
  return id;
}

const reveal = (name: Name, id: string, body?: unknown): Promise<Reply> =>
  api.post(`/tasks/${id}/reveal`, body, as(name));
const textOf = async (id: string): Promise<string> => {
  const response = await fetch(`${api.url}/tasks/${id}/reveal`, { method: 'POST', headers: as('owner') });
  return response.text();
};

interface AuditRow {
  readonly client: string;
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly objects: readonly string[];
  readonly details: unknown;
}
const auditOf = ({ headers }: Reply): Promise<AuditRow[]> =>
  api.rows('SELECT client, action, outcome, code, objects, details FROM audit WHERE trace_id = $1', [
    headers.get('x-trace-id'),
  ]);

describe('POST /tasks/{id}/reveal', () => {
  it('shows everything, with the text of each number, and leaves a row each time', async () => {
    const id = await completed();
    const { body: task } = await api.request(`/tasks/${id}`, { headers: as('owner') });
    expect([task.payload.pin, task.progress.pin, task.attempts[0].result.pin]).toEqual(Array(3).fill('[redacted]'));

    for (let time = 0; time < 2; time++) {
      const reply = await reveal('owner', id);
      expect([reply.status, reply.body.payload.pin, reply.body.progress, reply.body.result]).toEqual([
        200,
        4111222233334444,
        { pin: 'of the progress' },
        { pin: 'of the result' },
      ]);
      expect(await auditOf(reply)).toEqual([
        {
          client: 'owner',
          action: 'payload.reveal',
          outcome: 'allowed',
          code: null,
          objects: [`task:${id}`, 'queue:mine'],
          details: { attempt: 1 },
        },
      ]);
    }
    expect(await textOf(id)).toBe(
      `{"id":"${id}","attempt":1,"payload":${PAYLOAD},"progress":${PROGRESS},"result":${RESULT}}`,
    );
  });

  it('shows the result of the execution that it is asked for', async () => {
    const id = await tasks.taskIn('PROCESSING', { queue: 'mine' });
    const error = { name: 'Error', message: 'no luck' };
    await tasks.settle(id, { verb: 'retry', error, result: '"first"', delayMs: 0 });
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: 1, result: 'first' });
    await tasks.start(id);
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: 2, result: null });
    await tasks.settle(id, { verb: 'fail', error, result: '"second"' });
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: 2, result: 'second' });
    expect((await reveal('owner', id, { attempt: 1 })).body).toMatchObject({ attempt: 1, result: 'first' });
    expect((await reveal('owner', id, { attempt: 9 })).body).toMatchObject({ attempt: 9, result: null });
    await tasks.admin.requeueOne(id, 'keep');
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: 2, result: 'second' });
    await tasks.admin.cancel(id);
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: 2, result: 'second' });
    const waiting = await tasks.taskIn('PENDING', { queue: 'mine' });
    expect((await reveal('owner', waiting)).body).toEqual({
      id: waiting,
      attempt: 0,
      payload: {},
      progress: null,
      result: null,
    });
  });

  it('needs `admin` and `payload`; refusals are in the audit log', async () => {
    const id = await completed();
    for (const name of ['operator', 'blind'] as const) {
      const { status, body } = await reveal(name, id);
      expect([status, body.code]).toEqual([403, 'missing_scope']);
      expect(JSON.stringify(body)).not.toContain('4111222233334444');
    }
    expect((await reveal('blind', id)).body.detail).toBe(
      'the client lacks the scope `payload`, which revealing a task needs',
    );
    const refused = async () =>
      (await api.request('/audit?action=payload.reveal&outcome=refused', { headers: as('owner') })).body.items;
    await expect.poll(async () => (await refused()).length, { timeout: 15_000 }).toBe(2);
    expect((await refused()).map(({ client }: AuditRow) => client).toSorted()).toEqual(['blind', 'operator']);
    expect((await refused())[0]).toMatchObject({ code: 'missing_scope', objects: [`task:${id}`] });
  });

  it('answers for a task of another queue as for an unknown one, and leaves no row', async () => {
    const id = await completed();
    const [hidden, unknown] = await Promise.all([reveal('elsewhere', id), reveal('elsewhere', tasks.newTask().id)]);
    expect([hidden.status, hidden.body.code]).toEqual([404, 'task_not_found']);
    expect([unknown.status, unknown.body.code]).toEqual([404, 'task_not_found']);
    expect(await auditOf(hidden)).toEqual([]);
    expect(await auditOf(unknown)).toEqual([]);
  });

  it.each([{ attempt: 0 }, { attempt: 1.5 }, { attempt: '1' }, { all: true }, []])(
    'refuses the body %j',
    async (body) => {
      expect((await reveal('owner', tasks.newTask().id, body)).status).toBe(422);
    },
  );
});

describe('a reveal', () => {
  it('whose row cannot be written has no answer', async () => {
    const id = await completed();
    await api.rows(`ALTER TABLE audit ADD CONSTRAINT no_reveals CHECK (action <> 'payload.reveal') NOT VALID`);
    try {
      const reply = await reveal('owner', id);
      expect([reply.status, reply.body.code]).toEqual([422, 'refused_data']);
      expect(JSON.stringify(reply.body)).not.toContain('4111222233334444');
    } finally {
      await api.rows('ALTER TABLE audit DROP CONSTRAINT no_reveals');
    }
  });

  it('that is repeated after a lost answer leaves one row', async () => {
    const id = await completed();
    const by = anActor();
    const store = createRevealStore(tasks.database);
    const both = [await store.reveal(id, null, null, by), await store.reveal(id, null, null, by)];
    expect(both[0]).toEqual({ queue: 'mine', attempt: 1, payload: PAYLOAD, progress: PROGRESS, result: RESULT });
    expect(both[1]).toEqual(both[0]);
    expect(await api.rows('SELECT count FROM audit WHERE id = $1', [by.auditId])).toHaveLength(1);
  });

  it('of a task whose queue keeps no completed tasks shows what is left of it', async () => {
    const id = await tasks.submit({ queue: 'other', payload: PAYLOAD });
    await api.rows('UPDATE unfinished SET keep_completed = false WHERE id = $1', [id]);
    await tasks.start(id);
    await tasks.settle(id, { verb: 'complete', result: RESULT });
    expect((await reveal('owner', id)).body).toMatchObject({ attempt: null, progress: null, result: null });
  });
});
