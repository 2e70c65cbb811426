import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../test/harness/parts.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import type { NewTask } from '../core/task.ts';
import type { StartResult } from './task-store.ts';

let parts: TestParts;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
});

const LOST_CAP = 3;

async function committed(count: number, changes: Partial<NewTask> = {}): Promise<NewTask[]> {
  const tasks = Array.from({ length: count }, () => parts.newTask(changes));
  await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
  return tasks;
}

const idsOf = (tasks: readonly { readonly id: string }[]) => tasks.map(({ id }) => id);
const start = (ids: readonly string[], worker = 'w') => parts.store.start(ids, worker, LOST_CAP, true);
const verdicts = (results: readonly StartResult[]) => results.map(({ verdict }) => verdict);

function sql<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
  return parts.database.run<Row>({ name: '', text }, values);
}

describe('start', () => {
  it('answers in the order of the claim, and logs that order: one time for the batch, an ordinal for each', async () => {
    const tasks = (await committed(50)).toReversed();
    const results = await start(idsOf(tasks));
    expect(results.map((result) => (result.verdict === 'started' ? result.task.id : null))).toEqual(idsOf(tasks));
    const logs = await sql<{ task_id: string; times: number }>(
      `SELECT task_id, (SELECT count(DISTINCT started_at) FROM execution_logs WHERE task_id = ANY ($1::uuid[])) AS times
       FROM execution_logs WHERE task_id = ANY ($1::uuid[]) ORDER BY started_at, ordinal`,
      [idsOf(tasks)],
    );
    expect(logs.map(({ task_id }) => task_id)).toEqual(idsOf(tasks));
    expect(logs[0]?.times).toBe(1);
  });

  it('starts a task once, however many ask at the same time', async () => {
    const ids = idsOf(await committed(20));
    const all = await Promise.all(Array.from({ length: 8 }, (_, i) => start(ids, `w${i}`)));
    const started = all.flat().flatMap((result) => (result.verdict === 'started' ? [result.task.id] : []));
    expect(started.toSorted()).toEqual(ids.toSorted());
    expect(all.flat().every(({ verdict }) => ['started', 'locked', 'gone'].includes(verdict))).toBe(true);
  });

  it('tells how long an early one has to wait, and drops what is no task', async () => {
    const [later] = await committed(1, { runAtMs: parts.clock.nowMs() + 60_000 });
    const results = await start([later?.id as string, parts.ids.next()]);
    expect(verdicts(results)).toEqual(['early', 'gone']);
    expect(results[0]).toMatchObject({ waitMs: expect.any(Number) });
    const { waitMs } = results[0] as { waitMs: number };
    expect(waitMs).toBeGreaterThan(50_000);
    // The measured clock may be ahead of the server's by part of a round trip.
    expect(waitMs).toBeLessThan(61_000);
  });

  it('refuses what another transaction holds, and what its queue has paused', async () => {
    const [held] = await committed(1);
    const [paused] = await committed(1, { queue: 'paused' });
    await sql(`INSERT INTO queues (name, paused) VALUES ('paused', true)`, []);
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: 'SELECT id FROM tasks WHERE id = $1 FOR UPDATE' }, [held?.id]);
      expect(verdicts(await start(idsOf([held as NewTask, paused as NewTask])))).toEqual(['locked', 'paused']);
    });
  });

  describe('of tasks that are one loss short of the cap', () => {
    let suspects: string[];

    beforeEach(async () => {
      suspects = idsOf(await committed(3));
      await sql('UPDATE tasks SET lost = $2 WHERE id = ANY ($1::uuid[])', [suspects, LOST_CAP - 1]);
    });

    it('takes the first one only, beside fresher ones', async () => {
      const [fresh] = idsOf(await committed(1));
      expect(verdicts(await start([...suspects, fresh as string]))).toEqual(['started', 'solo', 'solo', 'started']);
    });

    it('takes none where one runs already', async () => {
      expect(verdicts(await parts.store.start(suspects, 'w', LOST_CAP, false))).toEqual(['solo', 'solo', 'solo']);
    });
  });
});

describe('settle', () => {
  const completed = (id: string, attempt: number) =>
    ({ id, attempt, outcome: { verb: 'complete', result: null }, reason: null }) as const;

  it('takes one outcome of an attempt, from the worker that runs it', async () => {
    const ids = idsOf(await committed(2));
    await start(ids);
    const both = ids.map((id) => completed(id, 1));
    const verdictsOf = async (worker: string) => (await parts.store.settle(worker, both)).map(({ verdict }) => verdict);
    expect(await verdictsOf('another')).toEqual(['stale', 'stale']);
    expect(await verdictsOf('w')).toEqual(['settled', 'settled']);
    expect(await verdictsOf('w')).toEqual(['already', 'already']);
    expect(await verdictsOf('another')).toEqual(['stale', 'stale']);
  });

  it('refuses the outcome of an earlier attempt', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    await start([id]);
    await parts.store.settle('w', [{ id, attempt: 1, outcome: { verb: 'release' }, reason: null }]);
    await start([id]);
    const [result] = await parts.store.settle('w', [completed(id, 3)]);
    expect(result?.verdict).toBe('stale');
    expect(await parts.store.settle('w', [completed(id, 1)])).toMatchObject([{ verdict: 'already', verb: 'release' }]);
    expect(await parts.store.settle('w', [completed(id, 2)])).toMatchObject([{ verdict: 'settled' }]);
  });
});

it('starts and settles nothing when it is asked for nothing', async () => {
  expect([await start([]), await parts.store.settle('w', [])]).toEqual([[], []]);
});

describe('new queues', () => {
  it('that another submission is making are waited for, and are not one too many', async () => {
    const { database, store } = parts;
    const newQueues = { names: ['raced'], most: 100 };
    let racing: Promise<unknown> = Promise.resolve();
    await database.transaction(async (run) => {
      await run({ name: 'test-make-queue', text: `INSERT INTO queues (name) VALUES ('raced')` }, []);
      racing = store.submitAll([], newQueues);
      const text = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      await expect.poll(() => database.run({ name: 'test-waiting', text }, [])).toHaveLength(1);
    });
    expect(await racing).toEqual([]);
    await expect(store.submitAll([], { names: ['surplus'], most: 1 })).rejects.toMatchObject({ queue: 'surplus' });
  });
});
