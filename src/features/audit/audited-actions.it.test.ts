import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { afterWaitingFor } from '../../../test/harness/lock-waits.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { deleteTasks } from '../../../test/harness/task-rows.ts';
import { anActor, createAdminStore } from '../../../test/harness/task-stores.ts';
import { startApi, type Reply, type RunningApi } from '../../../test/running-api.ts';
import { createTaskFixture, type TaskFixture } from '../../../test/task-fixture.ts';
import { commandActor, type Actor } from '../../core/access/audit.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { writeAudit } from '../../postgres/audit/write-audit.ts';
import type { Database, Run } from '../../postgres/database.ts';
import { ANY_DEAD_LETTER, REQUEUE_START } from '../dlq/requeue-store.ts';
import { createQueueStore } from '../queues/queue-store.ts';

let stores: TestStores;
let api: RunningApi;
let tasks: TaskFixture;
let serial = 0;

beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi(stores.env);
  tasks = createTaskFixture(stores);
  atEndOfFile(() => tasks.close());
});

type Row = Record<string, unknown>;

const sql = (text: string, values: readonly unknown[] = []): Promise<Row[]> =>
  tasks.database.run<Row>({ name: '', text }, values);
const auditOf = (trace: string | null): Promise<Row[]> => sql('SELECT * FROM audit WHERE trace_id = $1', [trace]);
const auditBy = ({ auditId }: Actor): Promise<Row[]> => sql('SELECT * FROM audit WHERE id = $1', [auditId]);
const auditRows = async (): Promise<number> =>
  Number((await sql('SELECT count(*)::int AS rows FROM audit'))[0]?.['rows']);
const traceOf = ({ headers }: Reply): string | null => headers.get('x-trace-id');

async function newQueue(): Promise<string> {
  const queue = `audited-${++serial}`;
  const id = await tasks.submit({ queue });
  await sql(deleteTasks('id = $1'), [id]);
  return queue;
}

interface Acted {
  readonly path: string;
  readonly objects: readonly string[];
  readonly body?: unknown;
}

const post = ({ path, body }: Acted): Promise<Reply> => api.post(path, body);

/** For each action, what is sent, and what its row says. */
const ACTIONS: readonly [string, Row, () => Promise<Acted>, ((acted: Acted) => Promise<Reply>)?][] = [
  [
    'the cancel of a waiting task',
    { action: 'task.cancel' },
    async () => {
      const id = await tasks.taskIn('PENDING');
      return { path: `/tasks/${id}/cancel`, objects: [`task:${id}`, 'queue:default'] };
    },
  ],
  [
    'the cancel of a running task',
    { action: 'task.cancel' },
    async () => {
      const id = await tasks.taskIn('PROCESSING');
      return { path: `/tasks/${id}/cancel`, objects: [`task:${id}`, 'queue:default'] };
    },
  ],
  [
    'the requeue of a task',
    { action: 'task.requeue' },
    async () => {
      const id = await tasks.taskIn('FAILED', { queue: 'other' });
      return { path: `/dlq/${id}/requeue`, objects: [`task:${id}`, 'queue:other'] };
    },
  ],
  [
    'a requeue by filter',
    {
      action: 'dlq.requeue',
      count: 3,
      details: JSON.stringify({ filter: { queue: 'many', reason: 'final_error' }, place: 'back', rate: 10 }),
    },
    async () => {
      for (let i = 0; i < 3; i++) await tasks.taskIn('FAILED', { queue: 'many' });
      const filter = { queue: 'many', reason: 'final_error' };
      return { path: '/dlq/requeue', objects: [], body: { filter, place: 'back', rate: 10 } };
    },
  ],
  [
    'the pause of a queue',
    { action: 'queue.pause' },
    async () => {
      const queue = await newQueue();
      return { path: `/queues/${queue}/pause`, objects: [`queue:${queue}`] };
    },
  ],
  [
    'the resume of a queue',
    { action: 'queue.resume' },
    async () => {
      const queue = await newQueue();
      await api.post(`/queues/${queue}/pause`, undefined);
      return { path: `/queues/${queue}/resume`, objects: [`queue:${queue}`] };
    },
  ],
  [
    'a change of a queue',
    { action: 'queue.change', details: '{"keep_completed":false}' },
    async () => {
      const queue = await newQueue();
      return { path: `/queues/${queue}`, objects: [`queue:${queue}`], body: { keep_completed: false } };
    },
    ({ path, body }) =>
      api.request(path, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  ],
  [
    'the deletion of a queue',
    { action: 'queue.delete' },
    async () => {
      const queue = await newQueue();
      return { path: `/queues/${queue}`, objects: [`queue:${queue}`] };
    },
    ({ path }) => api.request(path, { method: 'DELETE' }),
  ],
];

describe.each(ACTIONS)('%s', (_what, expected, prepare, send = post) => {
  it('leaves one row, and its repetition none', async () => {
    const acted = await prepare();
    const done = await send(acted);
    expect(done.status).toBeLessThan(300);
    expect(await auditOf(traceOf(done))).toEqual([
      {
        id: expect.any(String),
        at: expect.any(Date),
        client: '',
        outcome: 'allowed',
        code: null,
        objects: acted.objects,
        details: null,
        count: 1,
        address: '127.0.0.1',
        trace_id: traceOf(done),
        ...expected,
      },
    ]);
    const before = await auditRows();
    await send(acted);
    expect(await auditRows()).toBe(before);
  });
});

it('leaves no row if nothing is done: unknown names, ended tasks, dry runs, submissions and reads', async () => {
  const completed = await tasks.taskIn('COMPLETED');
  await tasks.taskIn('FAILED', { queue: 'dry' });
  const unknown = tasks.newTask().id;
  const before = await auditRows();
  const replies = [
    await api.post('/tasks', { payload: 1 }),
    await api.post(`/tasks/${completed}/cancel`, undefined),
    await api.post(`/tasks/${unknown}/cancel`, undefined),
    await api.post(`/tasks/${unknown}/reveal`, undefined),
    await api.post(`/dlq/${completed}/requeue`, undefined),
    await api.post('/dlq/requeue', { filter: { queue: 'dry' }, dry_run: true }),
    await api.post('/dlq/requeue', { filter: { queue: 'nobody' } }),
    await api.post('/queues/nobody/pause', undefined),
    await api.request('/queues/default', { method: 'DELETE' }),
    await api.request('/tasks'),
    await api.request('/audit'),
  ];
  expect(replies.map(({ status }) => status)).toEqual([200, 409, 404, 404, 409, 200, 200, 404, 409, 200, 200]);
  expect(await auditRows()).toBe(before);
});

/** The verbs in a transaction that is still open. */
const within = (run: Run): Database => ({ ...tasks.database, run });

/** Each verb, as one session runs it for an actor on a task or queue, and whether it was done. */
const VERBS: readonly {
  readonly verb: string;
  prepare(): Promise<string>;
  act(database: Database, name: string, by: Actor): Promise<unknown>;
  isDone(name: string): Promise<boolean>;
}[] = [
  {
    verb: 'cancel',
    prepare: () => tasks.taskIn('PENDING'),
    act: (database, id, by) => createAdminStore(database).cancel(id, by),
    isDone: async (id) => (await tasks.row(id)).status === 'CANCELLED',
  },
  {
    verb: 'cancel of a running task',
    prepare: () => tasks.taskIn('PROCESSING'),
    act: (database, id, by) => createAdminStore(database).cancel(id, by),
    isDone: async (id) => (await tasks.row(id)).cancel_requested_at !== null,
  },
  {
    verb: 'requeue',
    prepare: () => tasks.taskIn('FAILED'),
    act: (database, id, by) => createAdminStore(database).requeueOne(id, 'keep', by),
    isDone: async (id) => (await tasks.row(id)).status === 'PENDING',
  },
  {
    verb: 'requeue by filter',
    async prepare() {
      const queue = `by-filter-${++serial}`;
      await tasks.taskIn('FAILED', { queue });
      return queue;
    },
    act: (database, queue, by) =>
      createAdminStore(database).requeueBatch(
        { ...ANY_DEAD_LETTER, queue },
        { place: 'keep', spacingMs: null },
        REQUEUE_START,
        10,
        by,
      ),
    isDone: async (queue) => (await sql(`SELECT FROM unfinished WHERE queue = $1`, [queue])).length === 1,
  },
  {
    verb: 'pause',
    prepare: newQueue,
    act: (database, queue, by) => createQueueStore(database).setPaused(queue, true, by),
    isDone: async (queue) => (await sql('SELECT FROM queues WHERE name = $1 AND paused', [queue])).length === 1,
  },
  {
    verb: 'change',
    prepare: newQueue,
    act: (database, queue, by) => createQueueStore(database).setKeepCompleted(queue, false, by),
    isDone: async (queue) =>
      (await sql('SELECT FROM queues WHERE name = $1 AND NOT keep_completed', [queue])).length === 1,
  },
];

describe.each(VERBS)('$verb', ({ prepare, act, isDone }) => {
  it('whose session is killed before its commit has left neither a change nor a row', async () => {
    const name = await prepare();
    const by = anActor();
    const killed = tasks.database.transaction(async (run) => {
      await act(within(run), name, by);
      const [session] = await run<{ pid: number }>({ name: '', text: 'SELECT pg_backend_pid() AS pid' }, []);
      await withConnection(stores.databaseUrl, (other) =>
        other.query('SELECT pg_terminate_backend($1, 5000)', [session?.pid]),
      );
    });
    await expect(killed).rejects.toThrow(StoreUnavailableError);
    expect([await isDone(name), await auditBy(by)]).toEqual([false, []]);
  });

  it('that is repeated after a lost answer leaves one row, which counts once', async () => {
    const name = await prepare();
    const by = anActor();
    await act(tasks.database, name, by);
    await act(tasks.database, name, by);
    expect(await isDone(name)).toBe(true);
    expect(await auditBy(by)).toMatchObject([{ client: by.client, count: 1 }]);
  });

  it('of two sessions at once leaves one row, that of the first', async () => {
    const name = await prepare();
    const [first, second] = [anActor('first'), anActor('second')];
    await afterWaitingFor(
      tasks.database,
      (run) => act(within(run), name, first),
      () => act(tasks.database, name, second),
    );
    expect([await auditBy(first), await auditBy(second)]).toMatchObject([[{ client: 'first', count: 1 }], []]);
  });
});

describe('a requeue by filter', () => {
  it('has one row for its batches, which counts what was committed', async () => {
    const queue = `batches-${++serial}`;
    for (let i = 0; i < 5; i++) await tasks.taskIn('FAILED', { queue });
    const by = anActor();
    const filter = { ...ANY_DEAD_LETTER, queue };
    const plan = { place: 'keep', spacingMs: null } as const;
    const first = await tasks.admin.requeueBatch(filter, plan, REQUEUE_START, 2, by);
    expect(await auditBy(by)).toMatchObject([{ count: 2 }]);
    await tasks.admin.requeueBatch(filter, plan, first.next ?? REQUEUE_START, 2, by);
    // A batch whose transaction fails counts nothing.
    const failed = tasks.database.transaction(async (run) => {
      await createAdminStore(within(run)).requeueBatch(filter, plan, REQUEUE_START, 2, by);
      throw new Error('gone');
    });
    await expect(failed).rejects.toThrow('gone');
    expect(await auditBy(by)).toMatchObject([{ action: 'dlq.requeue', count: 4 }]);
  });

  it('of two clients at once counts each task once', async () => {
    const queue = `two-clients-${++serial}`;
    for (let i = 0; i < 40; i++) await tasks.taskIn('FAILED', { queue });
    const body = { filter: { queue } };
    const replies = await Promise.all([1, 2, 3].map(() => api.post('/dlq/requeue', body)));
    const counts = await Promise.all(
      replies.map(async (reply) => Number((await auditOf(traceOf(reply)))[0]?.['count'] ?? 0)),
    );
    expect(counts).toEqual(replies.map(({ body: { requeued } }) => requeued as number));
    expect(counts.reduce((sum, count) => sum + count)).toBe(40);
  });
});

it('the deletion of a queue that fails leaves no row', async () => {
  const queue = await newQueue();
  const by = anActor();
  const forget = async (): Promise<void> => {
    throw new Error('Redis is away');
  };
  await expect(createQueueStore(tasks.database).deleteQueue(queue, forget, by)).rejects.toThrow('Redis is away');
  expect(await sql('SELECT FROM queues WHERE name = $1', [queue])).toHaveLength(1);
  expect(await auditBy(by)).toEqual([]);
});

it('the expiry of a queue is no action of a client', async () => {
  const queue = await newQueue();
  const before = await auditRows();
  expect(await createQueueStore(tasks.database).deleteUnused(queue, Date.now() + 60_000, async () => {})).toBeNull();
  expect(await auditRows()).toBe(before);
});

it('a command writes its row with what it changes, and never twice', async () => {
  const by = commandActor('root', 'api-0');
  for (let i = 0; i < 2; i++)
    await tasks.database.transaction((run) =>
      writeAudit(run, by, { action: 'client.create', objects: ['client:billing'], details: { queues: ['billing.*'] } }),
    );
  expect(await auditBy(by)).toMatchObject([
    {
      client: 'cli:root',
      address: 'api-0',
      trace_id: null,
      objects: ['client:billing'],
      details: '{"queues":["billing.*"]}',
      count: 1,
    },
  ]);
});
