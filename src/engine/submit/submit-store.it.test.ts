import { beforeAll, describe, expect, it } from 'vitest';
import { afterWaitingFor, untilSessionWaits } from '../../../test/harness/lock-waits.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createAdminStore, createTaskStore, type TaskStore } from '../../../test/harness/task-stores.ts';
import type { Outcome } from '../../core/outcome.ts';
import type { NewTask, Submission } from '../../core/task.ts';
import type { Run } from '../../postgres/database.ts';

let parts: TestParts;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  await parts.submit([parts.newTask({ queue: 'unkept' })]);
  await sql(`UPDATE queues SET keep_completed = false WHERE name = 'unkept'`);
});

function sql<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
  return parts.database.run<Row>({ name: '', text }, values);
}

const plain = (task: NewTask): Submission => ({ task, idempotency: null });
const CREATED = { kind: 'created', waitMs: 0 };

const within = (run: Run): TaskStore => createTaskStore({ ...parts.database, run }, 60_000);

/** Ends tasks that wait. Without an outcome, it cancels them. */
async function end(run: Run, tasks: readonly NewTask[], outcome: Outcome | null): Promise<void> {
  const ids = tasks.map(({ id }) => id);
  if (outcome === null) {
    for (const id of ids) await createAdminStore({ ...parts.database, run }).cancel(id);
    return;
  }
  await within(run).start(ids, 'w', 3, true);
  const reason = outcome.verb === 'fail' ? 'final_error' : null;
  await within(run).settle(
    'w',
    ids.map((id) => ({ id, attempt: 1, outcome, reason })),
  );
}

const unfinished = (tasks: readonly NewTask[]) =>
  sql('SELECT id FROM unfinished WHERE id = ANY ($1::uuid[])', [tasks.map(({ id }) => id)]);

const COMPLETE: Outcome = { verb: 'complete', result: null };
const FAIL: Outcome = { verb: 'fail', error: { name: 'Error', message: 'no' }, result: null };

describe('a repeated submit', () => {
  it.each<[string, string, Outcome | null]>([
    ['completed', 'default', COMPLETE],
    ['completed and is not kept', 'unkept', COMPLETE],
    ['failed', 'default', FAIL],
    ['was cancelled', 'default', null],
  ])('does not revive a task that %s', async (_how, queue, outcome) => {
    const keyed = parts.newTask({ queue });
    const tasks = [parts.newTask({ queue }), keyed];
    const record = { key: keyed.id, requestHash: Buffer.from('hash'), answer: '{}' };
    const submissions = tasks.map((task) => ({ task, idempotency: task === keyed ? record : null }));
    await parts.store.submit(submissions);
    await end(parts.database.run, tasks, outcome);
    expect(await parts.store.submit(submissions)).toEqual([CREATED, CREATED]);
    expect(await parts.store.submitAll(submissions)).toEqual([CREATED, CREATED]);
    expect(await unfinished(tasks)).toEqual([]);
  });

  it('that waits for the first one does not revive the task if it has ended meanwhile', async () => {
    const task = parts.newTask();
    const first = async (run: Run): Promise<void> => {
      await within(run).submit([plain(task)]);
      await end(run, [task], COMPLETE);
    };
    expect(await afterWaitingFor(parts.database, first, () => parts.store.submit([plain(task)]))).toEqual([CREATED]);
    expect(await unfinished([task])).toEqual([]);
  });

  it('commits a task whose first submit was rolled back while the repeat waited for it', async () => {
    const task = parts.newTask();
    let repeat: Promise<unknown> = Promise.resolve();
    const rolledBack = parts.database.transaction(async (run) => {
      await within(run).submit([plain(task)]);
      repeat = parts.store.submit([plain(task)]);
      await untilSessionWaits(parts.database);
      throw new RangeError('roll back');
    });
    await expect(rolledBack).rejects.toThrow('roll back');
    expect(await repeat).toEqual([CREATED]);
    expect(await unfinished([task])).toHaveLength(1);
  });

  it.each([2, 1_200])('of %i tasks in another order does not deadlock with the first one', async (count) => {
    const tasks = Array.from({ length: count }, () => parts.newTask());
    const [lowest, highest] = [tasks[0], tasks.at(-1)] as [NewTask, NewTask];
    const results = await afterWaitingFor(
      parts.database,
      async (run) => {
        // Shorter than the time after which PostgreSQL looks for a deadlock and ends one of the transactions.
        await run({ name: '', text: `SET LOCAL lock_timeout = '300ms'` }, []);
        await within(run).submit([plain(lowest)]);
      },
      () => parts.store.submitAll(tasks.toReversed().map(plain)),
      // The other session waits for the lowest id, so it must not have written the highest one yet.
      (run) => within(run).submit([plain(highest)]),
    );
    expect(results).toEqual(tasks.map(() => CREATED));
    expect(await unfinished(tasks)).toHaveLength(count);
  });
});

describe('an idempotency key', () => {
  let serial = 0;
  const keyed = (task: NewTask, key: string): Submission => ({
    task,
    idempotency: { key, requestHash: Buffer.from(`${task.client} ${task.queue}`), answer: '{}' },
  });
  /** Tasks of two clients and of none, in two queues. */
  const ofAll = (): NewTask[] =>
    ['', 'billing', 'shop'].flatMap((client) => ['default', 'unkept'].map((queue) => parts.newTask({ client, queue })));

  it('belongs to its client and its queue', async () => {
    const key = `scoped-${++serial}`;
    const [first, again] = [ofAll(), ofAll()];
    expect(await parts.store.submit(first.map((task) => keyed(task, key)))).toEqual(first.map(() => CREATED));
    const replays = first.map(({ id }) => ({ kind: 'replayed', taskId: id, answer: '{}' }));
    expect(await parts.store.submit(again.map((task) => keyed(task, key)))).toEqual(replays);
    for (const [i, task] of ofAll().entries())
      expect(await parts.store.submit([keyed(task, key)])).toEqual([replays[i]]);
    const other = keyed(parts.newTask({ client: 'shop', queue: 'unkept' }), key);
    const mismatch = { task: other.task, idempotency: { ...other.idempotency, requestHash: Buffer.of(1) } };
    expect(await parts.store.submitAll([mismatch as Submission])).toEqual([{ kind: 'mismatch' }]);
    expect(await sql('SELECT id FROM submissions WHERE idempotency_key = $1 ORDER BY id', [key])).toEqual(
      first.map(({ id }) => ({ id })),
    );
  });

  it('is locked in the order of client, queue and key, so that batches do not deadlock', async () => {
    // The order of the keys alone is the opposite one.
    const tasks = ofAll();
    const submissions = tasks.map((task, i) => keyed(task, `${9 - i} ordered-${++serial}`));
    const [lowest, highest] = [submissions[0], submissions.at(-1)] as [Submission, Submission];
    const results = await afterWaitingFor(
      parts.database,
      async (run) => {
        await run({ name: '', text: `SET LOCAL lock_timeout = '300ms'` }, []);
        await within(run).submit([lowest]);
      },
      () => parts.store.submitAll(submissions.toReversed()),
      (run) => within(run).submit([highest]),
    );
    expect(results).toEqual(tasks.map(() => CREATED));
  });
});

it('the client is in the submission, and a task without one has none', async () => {
  const tasks = [parts.newTask({ client: 'shop' }), parts.newTask()];
  await parts.store.submit(tasks.map(plain));
  expect(
    await sql('SELECT client FROM submissions WHERE id = ANY ($1) ORDER BY id', [tasks.map(({ id }) => id)]),
  ).toEqual([{ client: 'shop' }, { client: null }]);
});

describe('metadata and group', () => {
  const pairs = (tasks: readonly NewTask[]) =>
    sql('SELECT name, value, id FROM metadata_pairs WHERE id = ANY ($1::uuid[]) ORDER BY id, name', [
      tasks.map(({ id }) => id),
    ]);

  it('have a row for each member, and none for tasks without members', async () => {
    const plainTask = parts.newTask();
    const labelled = parts.newTask({ metadata: { team: 'a', 'order no.': '"17"' } });
    const empty = parts.newTask({ metadata: {} });
    await parts.store.submit([plainTask, labelled, empty].map(plain));
    expect(await pairs([plainTask, labelled, empty])).toEqual([
      { name: 'order no.', value: '"17"', id: labelled.id },
      { name: 'team', value: 'a', id: labelled.id },
    ]);
  });

  it('keep of a value what fits into the index, in characters of any length', async () => {
    const long = parts.newTask({
      metadata: { note: '\u{1F600}'.repeat(512), ['\u{1F600}'.repeat(64)]: '\uFFFF'.repeat(1_024) },
    });
    await parts.store.submit([plain(long)]);
    expect(await pairs([long])).toEqual([
      { name: 'note', value: '\u{1F600}'.repeat(200), id: long.id },
      { name: '\u{1F600}'.repeat(64), value: '\uFFFF'.repeat(200), id: long.id },
    ]);
    expect(await sql('SELECT metadata FROM submissions WHERE id = $1', [long.id])).toEqual([
      { metadata: JSON.stringify(long.metadata) },
    ]);
  });

  it('are written by the submit that wrote the task, and by no repeat of it', async () => {
    const task = parts.newTask({ metadata: { team: 'a' } });
    await parts.store.submit([plain(task)]);
    await sql('DELETE FROM metadata_pairs WHERE id = $1', [task.id]);
    expect(await parts.store.submit([plain(task), plain(parts.newTask({ metadata: { team: 'b' } }))])).toEqual([
      CREATED,
      CREATED,
    ]);
    expect(await pairs([task])).toEqual([]);
  });

  it('are not written for a task whose key belongs to another', async () => {
    const [first, second] = [parts.newTask({ metadata: { n: '1' } }), parts.newTask({ metadata: { n: '2' } })];
    for (const task of [first, second])
      await parts.store.submit([
        { task, idempotency: { key: `of ${first.id}`, requestHash: Buffer.from('same'), answer: '{}' } },
      ]);
    expect(await pairs([first, second])).toEqual([{ name: 'n', value: '1', id: first.id }]);
  });

  it('do not deadlock if a submit waits for another one with the same tasks', async () => {
    const tasks = Array.from({ length: 20 }, (_, i) => parts.newTask({ metadata: { n: String(20 - i), all: 'x' } }));
    const results = await afterWaitingFor(
      parts.database,
      async (run) => {
        await run({ name: '', text: `SET LOCAL lock_timeout = '300ms'` }, []);
        await within(run).submit([plain(tasks[0] as NewTask)]);
      },
      () => parts.store.submitAll(tasks.toReversed().map(plain)),
      (run) => within(run).submit(tasks.map(plain)),
    );
    expect(results).toEqual(tasks.map(() => CREATED));
    expect(await pairs(tasks)).toHaveLength(2 * tasks.length);
  });

  it('the group is in the submission and in the row of an unfinished task', async () => {
    const tasks = [parts.newTask({ group: 'acme' }), parts.newTask()];
    await parts.store.submit(tasks.map(plain));
    const groups = await sql(
      'SELECT id, s."group" AS asked, u."group" AS open FROM submissions s JOIN unfinished u USING (id) WHERE id = ANY ($1) ORDER BY id',
      [tasks.map(({ id }) => id)],
    );
    expect(groups).toEqual([
      { id: tasks[0]?.id, asked: 'acme', open: 'acme' },
      { id: tasks[1]?.id, asked: null, open: null },
    ]);
  });
});
