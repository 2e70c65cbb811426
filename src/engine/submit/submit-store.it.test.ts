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
