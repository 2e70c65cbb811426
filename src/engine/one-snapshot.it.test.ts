import { beforeAll, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../test/api-fixture.ts';
import { deleteTasks } from '../../test/harness/task-rows.ts';
import { FIXTURE_WORKER as WORKER } from '../../test/task-fixture.ts';
import type { Run } from '../postgres/database.ts';
import { createTaskStates } from './order/task-states.ts';

let api: ApiFixture;

beforeAll(async () => {
  api = await createApiFixture();
});

/** Failures of a task that moves. */
const ROUNDS = 40;

/** Takes a task through `rounds` failures. Each move takes it from one table to another. */
async function moveAround(id: string, rounds: number): Promise<void> {
  const { store, admin } = api.tasks;
  const error = { name: 'Error', message: 'no' };
  for (let attempt = 1; attempt <= rounds; attempt++) {
    await store.start([id], WORKER, 3, true);
    const outcome = { verb: 'fail', error, result: null } as const;
    await store.settle(WORKER, [{ id, attempt, outcome, reason: 'final_error' }]);
    await admin.requeueOne(id, 'keep');
  }
}

it('the state of a task is read in one statement', async () => {
  const id = await api.tasks.taskIn('FAILED');
  const statements: string[] = [];
  const counting: Run = (statement, values) => {
    statements.push(statement.name);
    return api.tasks.database.run(statement, values);
  };
  await createTaskStates(counting).statusesOf([id]);
  expect(statements).toEqual(['statuses-of']);
});

/** What `GET /tasks/{id}` shows. */
interface Shown {
  readonly status: string;
  readonly attempt: number;
  readonly attempts: readonly { readonly attempt: number; readonly outcome: string | null }[];
}

/** Asks for the task in all ways, and returns what does not fit together. */
async function contradictions(id: string, queue: string): Promise<unknown[]> {
  const [states, shown, listed] = await Promise.all([
    createTaskStates(api.tasks.database.run).statusesOf([id]),
    api.get(`/tasks/${id}`),
    api.get(`/tasks?queue=${queue}`),
  ]);
  const { status, attempt, attempts } = shown.body as unknown as Shown;
  const items = (listed.body.items ?? []) as { id: string; status: string }[];
  const found: unknown[] = [];
  for (const each of [states.get(id)?.status, status, ...items.map((item) => item.status)])
    if (!['PENDING', 'PROCESSING', 'FAILED'].includes(each ?? '')) found.push(each);
  if (items.length !== 1) found.push(items);
  // The attempts come from the same moment as the status: only the latest one runs, and only of a running task.
  const outcomes = attempts.map(({ outcome }) => outcome);
  const fitting = Array.from({ length: attempt }, (_, i) =>
    status === 'PROCESSING' && i === attempt - 1 ? null : 'FAILED',
  );
  if (outcomes.join() !== fitting.slice(-outcomes.length).join() || (attempt > 0 && outcomes.length === 0))
    found.push({ status, attempt, outcomes });
  return found;
}

it.each([true, false])('a task that moves is always in exactly one table (keep_completed: %s)', async (kept) => {
  const queue = `moves-${kept}`;
  await api.tasks.submit({ queue });
  await api.tasks.database.run({ name: '', text: 'UPDATE queues SET keep_completed = $2 WHERE name = $1' }, [
    queue,
    kept,
  ]);
  await api.tasks.database.run({ name: '', text: deleteTasks('queue = $1') }, [queue]);
  const id = await api.tasks.submit({ queue });
  const moving = new AbortController();
  const mover = moveAround(id, ROUNDS).finally(() => moving.abort());
  const found: unknown[] = [];
  while (!moving.signal.aborted) found.push(...(await contradictions(id, queue)));
  await mover;
  expect(found).toEqual([]);
  expect(await api.tasks.row(id)).toMatchObject({ status: 'PENDING', attempt: ROUNDS });
});
