import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createAdminStore } from '../../../test/harness/task-stores.ts';
import { createTaskFixture, predecessor, type TaskFixture } from '../../../test/task-fixture.ts';
import { idMilliseconds } from '../../core/ids.ts';
import {
  ANY_DEAD_LETTER,
  REQUEUE_START,
  type DeadLetterFilter,
  type RequeueBatch,
  type RequeuedTask,
  type RequeuePlan,
  type RequeueProgress,
} from './requeue-store.ts';

const RACES = 300;
const ERROR = { name: 'Error', message: 'no' };

let tasks: TaskFixture;
beforeAll(async () => {
  tasks = createTaskFixture(await createTestStores());
});
afterAll(() => tasks.close());

async function query<Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> {
  return tasks.database.run<Row>({ name: `test-${text.length}-${text}`.slice(0, 60), text }, values);
}

/** Makes failed tasks in the given queue, in the order of their ids. */
async function failedTasks(queue: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push(await tasks.taskIn('FAILED', { queue }));
  return ids;
}

async function requeueAll(
  queue: string,
  plan: RequeuePlan,
  batch: number,
  admin = tasks.admin,
): Promise<RequeuedTask[]> {
  const requeued: RequeuedTask[] = [];
  let progress: RequeueProgress | null = REQUEUE_START;
  while (progress !== null) {
    const result: RequeueBatch = await admin.requeueBatch({ ...ANY_DEAD_LETTER, queue }, plan, progress, batch);
    requeued.push(...result.tasks);
    progress = result.next;
  }
  return requeued;
}

/** Counts all dead letters that a requeue would take. */
async function countAll(filter: Partial<DeadLetterFilter>, admin = tasks.admin): Promise<number> {
  let count = 0;
  let progress: RequeueProgress | null = REQUEUE_START;
  while (progress !== null) {
    const result: Omit<RequeueBatch, 'tasks'> = await admin.countBatch({ ...ANY_DEAD_LETTER, ...filter }, progress);
    count += result.matched;
    progress = result.next;
  }
  return count;
}

describe('cancel', () => {
  it('ends a waiting task at once and returns its position', async () => {
    const id = await tasks.submit({ queue: 'c', priority: 1 });
    expect(await tasks.admin.cancel(id)).toEqual({
      verdict: 'cancelled',
      status: 'CANCELLED',
      queue: 'c',
      position: { id, priority: 1, placeMs: idMilliseconds(id) },
    });
    expect((await tasks.admin.cancel(id))?.verdict).toBe('already');
  });

  it('requests a running task to stop, and keeps the time of the first request', async () => {
    const id = await tasks.taskIn('PROCESSING');
    expect(await tasks.admin.cancel(id)).toMatchObject({ verdict: 'requested', status: 'PROCESSING' });
    const first = (await tasks.row(id)).cancel_requested_at;
    expect((await tasks.admin.cancel(id))?.verdict).toBe('requested');
    expect((await tasks.row(id)).cancel_requested_at).toEqual(first);
  });

  it.each(['COMPLETED', 'FAILED'] as const)('does not change a %s task', async (status) => {
    const id = await tasks.taskIn(status);
    expect(await tasks.admin.cancel(id)).toMatchObject({ verdict: 'finished', status });
    expect((await tasks.row(id)).cancel_requested_at).toBeNull();
  });

  it('returns null for an unknown task', async () => {
    expect(await tasks.admin.cancel(tasks.newTask().id)).toBeNull();
  });

  it('and a simultaneous start have one consistent result', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < RACES; i++) {
      const id = await tasks.submit(i % 2 === 0 ? {} : { runAtMs: 1 });
      const start = () => tasks.store.start([id], 'racer', 3, true);
      const cancel = () => tasks.admin.cancel(id);
      // The first call has a small advantage, so each order is tried.
      const early = i % 4 < 2 ? start() : null;
      const [cancelled, [started]] = await Promise.all([cancel(), early ?? start()]);
      const { status, attempt, worker_id, cancel_requested_at } = await tasks.row(id);
      const outcome = `${cancelled?.verdict} ${started?.verdict}`;
      seen.add(outcome);
      expect(cancel_requested_at).not.toBeNull();
      if (cancelled?.verdict === 'requested') {
        expect({ started: started?.verdict, status, attempt, worker_id }).toEqual({
          started: 'started',
          status: 'PROCESSING',
          attempt: 1,
          worker_id: 'racer',
        });
      } else {
        // After `locked`, the claim is returned, and the next start finds that the task is gone.
        expect(cancelled?.verdict).toBe('cancelled');
        expect(['gone', 'locked']).toContain(started?.verdict);
        expect({ status, attempt, worker_id }).toEqual({ status: 'CANCELLED', attempt: 0, worker_id: null });
        expect(await tasks.store.start([id], 'racer', 3, true)).toMatchObject([{ verdict: 'gone' }]);
      }
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('and a simultaneous settle have one consistent result', async () => {
    for (let i = 0; i < RACES / 3; i++) {
      const id = await tasks.taskIn('PROCESSING');
      const verb = (['complete', 'retry', 'fail'] as const)[i % 3] as 'complete' | 'retry' | 'fail';
      const outcome = { verb, delayMs: 1, error: ERROR, result: null };
      const [cancelled] = await Promise.all([tasks.admin.cancel(id), tasks.settle(id, outcome)]);
      const { status } = await tasks.row(id);
      if (verb === 'complete') expect(status).toBe('COMPLETED');
      else if (verb === 'retry') expect(status).toBe('CANCELLED');
      else expect(status).toBe(cancelled?.verdict === 'requested' ? 'CANCELLED' : 'FAILED');
    }
  });
});

it('a cancel between two attempts keeps the start of the first', async () => {
  const id = await tasks.taskIn('PROCESSING');
  await tasks.settle(id, { verb: 'retry', delayMs: 60_000, error: ERROR, result: null });
  const started = () => query<{ started_at: Date }>('SELECT started_at FROM tasks WHERE id = $1', [id]);
  const before = await started();
  expect(before).toEqual([{ started_at: expect.any(Date) }]);
  expect((await tasks.admin.cancel(id))?.verdict).toBe('cancelled');
  expect(await started()).toEqual(before);
});

describe('requeue', () => {
  it('keeps the group of a task', async () => {
    const id = await tasks.taskIn('FAILED', { group: 'acme' });
    await tasks.admin.requeueOne(id, 'keep');
    expect(await query('SELECT "group" FROM unfinished WHERE id = $1', [id])).toEqual([{ group: 'acme' }]);
  });

  it('resets both budgets, and keeps the attempt number and the history', async () => {
    const id = await tasks.taskIn('FAILED', { queue: 'budgets' });
    await query(`UPDATE finished SET lost = 2, progress = '1' WHERE id = $1`, [id]);
    const started = () => query<{ started_at: Date }>('SELECT started_at FROM tasks WHERE id = $1', [id]);
    const before = await started();
    expect(before).toEqual([{ started_at: expect.any(Date) }]);
    await tasks.admin.requeueOne(id, 'keep');
    expect(await started()).toEqual(before);
    expect(await query('SELECT progress FROM tasks WHERE id = $1', [id])).toEqual([{ progress: null }]);
    expect(await tasks.row(id)).toMatchObject({
      status: 'PENDING',
      attempt: 1,
      failures: 0,
      lost: 0,
      place_ms: idMilliseconds(id),
      finished_at: null,
    });
    await tasks.start(id);
    expect((await tasks.row(id)).attempt).toBe(2);
    const letters = await query<{ attempt: number; requeued_at: Date | null }>(
      'SELECT attempt, requeued_at FROM dlq WHERE task_id = $1',
      [id],
    );
    expect(letters).toEqual([{ attempt: 1, requeued_at: expect.any(Date) }]);
  });

  it('does nothing a second time', async () => {
    const id = await tasks.taskIn('FAILED');
    expect(await tasks.admin.requeueOne(id, 'keep')).not.toBeNull();
    expect(await tasks.admin.requeueOne(id, 'keep')).toBeNull();
    expect(await tasks.admin.requeueOne(tasks.newTask().id, 'keep')).toBeNull();
  });

  it('works in batches in the order of the ids, each task once', async () => {
    const ids = await failedTasks('batches', 25);
    const requeued = await requeueAll('batches', { place: 'keep', spacingMs: null }, 10);
    expect(requeued.map(({ position }) => position.id)).toEqual(ids);
    expect(await requeueAll('batches', { place: 'keep', spacingMs: null }, 10)).toEqual([]);
  });

  it('to the back puts all tasks behind the waiting ones, in one order over all batches', async () => {
    const ids = await failedTasks('back', 12);
    const [{ now_ms: before } = { now_ms: 0 }] = await query<{ now_ms: number }>(
      'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms',
    );
    const requeued = await requeueAll('back', { place: 'back', spacingMs: null }, 5);
    const places = requeued.map(({ position }) => position.placeMs);
    expect(Math.min(...places)).toBeGreaterThanOrEqual(before);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(requeued.map(({ position }) => position.id)).toEqual(ids);
  });

  it('spreads tasks over time without a gap between batches', async () => {
    const ids = await failedTasks('spread', 9);
    await requeueAll('spread', { place: 'back', spacingMs: 100_000 }, 4);
    const rows = await Promise.all(ids.map((id) => tasks.row(id)));
    expect(new Set(rows.map(({ status }) => status))).toEqual(new Set(['SCHEDULED']));
    const gaps = rows.slice(1).map((row, i) => row.place_ms - (rows[i]?.place_ms ?? 0));
    expect(gaps).toEqual(Array(8).fill(100_000));
    for (const row of rows.slice(1)) expect(row.run_at.getTime()).toBe(row.place_ms);
  });

  it('sets run_at to the present or later even if the requeue began long ago', async () => {
    const [id] = (await failedTasks('late', 1)) as [string];
    const [{ at } = { at: new Date(0) }] = await query<{ at: Date }>('SELECT clock_timestamp() AS at');
    await tasks.admin.requeueBatch(
      { ...ANY_DEAD_LETTER, queue: 'late' },
      { place: 'back', spacingMs: null },
      { ...REQUEUE_START, baseMs: at.getTime() - 60_000 },
      1,
    );
    const row = await tasks.row(id);
    expect(row.run_at.getTime()).toBeGreaterThanOrEqual(at.getTime());
    expect(row.place_ms).toBe(at.getTime() - 60_000);
  });

  it('skips a task that is no longer FAILED', async () => {
    const [first, second] = (await failedTasks('skips', 2)) as [string, string];
    await query(`UPDATE finished SET status = 'COMPLETED' WHERE id = $1`, [first]);
    const filter = { ...ANY_DEAD_LETTER, queue: 'skips' };
    expect(await countAll(filter)).toBe(1);
    const { matched, tasks: requeued } = await tasks.admin.requeueBatch(
      filter,
      { place: 'keep', spacingMs: null },
      REQUEUE_START,
      10,
    );
    expect(matched).toBe(2);
    expect(requeued.map(({ position }) => position.id)).toEqual([second]);
  });

  it('requeues each task once if two requeues run at the same time', async () => {
    const ids = await failedTasks('twice', 40);
    const both = await Promise.all([1, 2].map(() => requeueAll('twice', { place: 'keep', spacingMs: null }, 15)));
    expect(
      both
        .flat()
        .map(({ position }) => position.id)
        .toSorted(),
    ).toEqual(ids);
  });

  it('filters by action, reason, time and text of the error', async () => {
    const queue = 'filters';
    const [a, b] = (await failedTasks(queue, 2)) as [string, string];
    await query(
      `UPDATE dlq SET action = 'mail', reason = 'lost_cap', failed_at = '2020-01-01T00:00:00Z', errors = '[{"message":"50% off"}]' WHERE task_id = $1`,
      [a],
    );
    const count = (filter: Partial<DeadLetterFilter>) => countAll({ queue, ...filter });
    expect(await count({})).toBe(2);
    expect(await count({ action: 'mail' })).toBe(1);
    expect(await count({ reason: 'lost_cap' })).toBe(1);
    expect(await count({ failedBefore: '2020-01-01T00:00:00Z' })).toBe(0);
    expect(await count({ failedBefore: '2020-01-01T00:00:00.001Z' })).toBe(1);
    expect(await count({ failedAfter: '2020-01-01T00:00:00.001Z' })).toBe(1);
    expect(await count({ errorContains: '50% off' })).toBe(1);
    expect(await count({ errorContains: '50_ off' })).toBe(0);
    const plan = { place: 'keep', spacingMs: null } as const;
    const { tasks: requeued } = await tasks.admin.requeueBatch(
      { ...ANY_DEAD_LETTER, queue, errorContains: 'no luck' },
      plan,
      REQUEUE_START,
      10,
    );
    expect(requeued.map(({ position }) => position.id)).toEqual([b]);
  });

  it('searches stack traces only if it is told to, whatever the errors say', async () => {
    const queue = 'stacks';
    const [id] = (await failedTasks(queue, 1)) as [string];
    const frame = '    at f (/srv/secret-place/f.js:1:1)';
    const inner = { name: 'Error', message: 'inner text', stack: `Error: inner text\n${frame}` };
    const error = {
      name: 'TypeError',
      // The message quotes the stack of another error, and something that looks like the member of a record.
      message: `outer text\n${frame}\nthe end, "stack":"quoted /srv/written"`,
      code: 'E_X',
      stack: `TypeError: "outer" \\text\n${frame}`,
      cause: inner,
      errors: [inner],
    };
    await query('UPDATE dlq SET errors = $2 WHERE task_id = $1', [id, JSON.stringify([{ attempt: 1, error }])]);
    const matched = async (errorContains: string, stacks: boolean): Promise<boolean> => {
      const filter = { ...ANY_DEAD_LETTER, queue, errorContains, stacks };
      const { matched: counted } = await tasks.admin.countBatch(filter, REQUEUE_START);
      const batch = await tasks.admin.requeueBatch(
        { ...filter, reason: 'lost_cap' },
        { place: 'keep', spacingMs: null },
        REQUEUE_START,
        10,
      );
      expect(batch.matched).toBe(0);
      return counted === 1;
    };
    for (const text of ['outer text', 'the end', 'quoted /srv/written', 'inner text', 'TypeError', 'E_X'])
      expect([text, await matched(text, false), await matched(text, true)]).toEqual([text, true, true]);
    for (const text of ['secret-place', 'at f (', '/srv/secret', 'Error: inner text'])
      expect([text, await matched(text, false), await matched(text, true)]).toEqual([text, false, true]);
    expect([await matched('nothing', false), await matched('nothing', true)]).toEqual([false, false]);
  });

  it('looks at fewer dead letters at once while it leaves out stack traces, and misses none', async () => {
    const queue = 'many-stacks';
    await query(
      `INSERT INTO dlq (task_id, attempt, queue, action, priority, reason, errors, failed_at)
       SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-000000000000')::uuid, 1, $1, 'a', 2, 'final_error',
              '[{"error":{"message":"m","stack":"s"}}]', now()
       FROM generate_series(1, 2500) AS n`,
      [queue],
    );
    const filter = { ...ANY_DEAD_LETTER, queue, errorContains: '"m"', stacks: false };
    let looks = 0;
    for (let next: RequeueProgress | null = REQUEUE_START; next !== null; looks++)
      ({ next } = await tasks.admin.countBatch(filter, next));
    expect(looks).toBeGreaterThanOrEqual(3);
    await query('DELETE FROM dlq WHERE queue = $1', [queue]);
  });

  it('passes over dead letters that do not match, in small slices', async () => {
    const patient = createAdminStore(tasks.database, 3);
    const [first] = (await failedTasks('rare-among-many', 1)) as [string];
    await failedTasks('many', 7);
    const again = await tasks.taskIn('FAILED', { queue: 'rare-among-many' });
    // The first dead letter of this task is closed, and a slice of three may end between its two dead letters.
    await tasks.admin.requeueOne(again, 'keep');
    await tasks.start(again);
    await tasks.settle(again, { verb: 'fail', error: ERROR, result: null });
    expect(await countAll({ queue: 'rare-among-many' }, patient)).toBe(2);
    const requeued = await requeueAll('rare-among-many', { place: 'keep', spacingMs: null }, 10, patient);
    expect(requeued.map(({ position }) => position.id)).toEqual([first, again]);
    expect(await countAll({ queue: 'rare-among-many' }, patient)).toBe(0);
  });

  it('ignores a late settle of the failed attempt', async () => {
    const id = await tasks.taskIn('FAILED');
    await tasks.admin.requeueOne(id, 'keep');
    await tasks.start(id);
    const [late] = await tasks.store.settle('worker-1', [
      { id, attempt: 1, outcome: { verb: 'complete', result: null }, reason: null },
    ]);
    expect(late?.verdict).toBe('already');
    expect(await tasks.row(id)).toMatchObject({ status: 'PROCESSING', attempt: 2 });
  });

  it('begins after the given id', async () => {
    const [a, b] = (await failedTasks('after', 2)) as [string, string];
    const plan = { place: 'keep', spacingMs: null } as const;
    const from = (taskId: string) =>
      tasks.admin.requeueBatch(
        { ...ANY_DEAD_LETTER, queue: 'after' },
        plan,
        { ...REQUEUE_START, after: { taskId, attempt: 1 } },
        1,
      );
    expect((await from(a)).tasks.map(({ position }) => position.id)).toEqual([b]);
    expect((await from(predecessor(a))).tasks.map(({ position }) => position.id)).toEqual([a]);
  });
});

describe('setPaused', () => {
  it('increases the version only with a change', async () => {
    await tasks.store.submitAll([], { names: ['p'], most: 1_000 });
    expect(await tasks.admin.setPaused('p', true)).toEqual({
      name: 'p',
      paused: true,
      keep_completed: true,
      version: 2,
    });
    expect(await tasks.admin.setPaused('p', true)).toEqual({
      name: 'p',
      paused: true,
      keep_completed: true,
      version: 2,
    });
    expect(await tasks.admin.setPaused('p', false)).toEqual({
      name: 'p',
      paused: false,
      keep_completed: true,
      version: 3,
    });
    expect(await tasks.admin.setPaused('unknown', true)).toBeNull();
  });
});
