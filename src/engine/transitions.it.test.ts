import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statementNamed } from '../../test/harness/assets.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createTaskFixture, FIXTURE_WORKER, predecessor, type TaskFixture } from '../../test/task-fixture.ts';
import type { Outcome } from '../core/outcome.ts';
import { TASK_STATUSES, TRANSITIONS, isTerminal, type TaskStatus, type Verb } from '../core/task.ts';
import { ANY_DEAD_LETTER, REQUEUE_START } from '../features/dlq/requeue-store.ts';

let tasks: TaskFixture;
beforeAll(async () => {
  tasks = createTaskFixture(await createTestStores());
});
afterAll(() => tasks.close());

async function requestCancel(id: string): Promise<void> {
  const text = 'UPDATE unfinished SET cancel_requested_at = now() WHERE id = $1';
  await tasks.database.run({ name: 'test-request-cancel', text }, [id]);
}

/** Reclaims all tasks of the worker, as a sweep does. */
async function reclaim(lostCap: number): Promise<void> {
  const [lease] = await tasks.database.run<{ pass: number }>(statementNamed('take-lease'), [
    'test',
    3_000,
    15_000,
    5_000,
  ]);
  const error = JSON.stringify({ name: 'WorkerLost', message: 'gone' });
  await tasks.database.run(statementNamed('reclaim'), ['test', lease?.pass, FIXTURE_WORKER, lostCap, 1_000, error]);
}

/** Gives back the row's current attempt, as a worker does after PostgreSQL refused its outcome. */
async function reclaimOwn(id: string, lostCap: number): Promise<void> {
  const { attempt } = await tasks.row(id);
  await tasks.store.reclaimOwn(FIXTURE_WORKER, { id, attempt }, lostCap, ERROR);
}

const ERROR = { name: 'Error', message: 'no' };
const RETRY: Outcome = { verb: 'retry', delayMs: 1_000, error: ERROR, result: null };
const FAIL: Outcome = { verb: 'fail', error: ERROR, result: null };

interface Change {
  readonly verb: Verb;
  readonly how: string;
  readonly apply: (id: string) => Promise<unknown>;
  /** The status that this change leads to. */
  readonly to: (from: TaskStatus) => TaskStatus;
}

const CHANGES: readonly Change[] = [
  { verb: 'submit', how: 'repeated', apply: (id) => tasks.submit({ id }), to: (from) => from },
  { verb: 'start', how: '', apply: (id) => tasks.start(id), to: () => 'PROCESSING' },
  {
    verb: 'complete',
    how: '',
    apply: (id) => tasks.settle(id, { verb: 'complete', result: null }),
    to: () => 'COMPLETED',
  },
  { verb: 'retry', how: '', apply: (id) => tasks.settle(id, RETRY), to: () => 'SCHEDULED' },
  { verb: 'fail', how: '', apply: (id) => tasks.settle(id, FAIL), to: () => 'FAILED' },
  { verb: 'release', how: '', apply: (id) => tasks.settle(id, { verb: 'release' }), to: () => 'PENDING' },
  ...([RETRY, FAIL, { verb: 'release' }] as const).map((outcome): Change => ({
    verb: 'abort',
    how: `instead of ${outcome.verb}`,
    async apply(id) {
      await requestCancel(id);
      await tasks.settle(id, outcome);
    },
    to: () => 'CANCELLED',
  })),
  {
    verb: 'abort',
    how: 'instead of reclaim',
    async apply(id) {
      await requestCancel(id);
      await reclaim(3);
    },
    to: () => 'CANCELLED',
  },
  { verb: 'reclaim', how: 'with a chance left', apply: () => reclaim(3), to: () => 'PENDING' },
  { verb: 'reclaim', how: 'that reaches the cap', apply: () => reclaim(1), to: () => 'FAILED' },
  { verb: 'reclaim', how: 'by the worker itself', apply: (id) => reclaimOwn(id, 3), to: () => 'PENDING' },
  { verb: 'reclaim', how: 'by the worker itself, at the cap', apply: (id) => reclaimOwn(id, 1), to: () => 'FAILED' },
  {
    verb: 'cancel',
    how: '',
    apply: (id) => tasks.admin.cancel(id),
    to: (from) => (from === 'PROCESSING' ? 'PROCESSING' : 'CANCELLED'),
  },
  { verb: 'requeue', how: 'one', apply: (id) => tasks.admin.requeueOne(id, 'keep'), to: () => 'PENDING' },
  {
    verb: 'requeue',
    how: 'spread over time',
    apply: (id) =>
      tasks.admin.requeueBatch(
        ANY_DEAD_LETTER,
        { place: 'back', spacingMs: 10 },
        { ...REQUEUE_START, after: { taskId: predecessor(id), attempt: 0 } },
        1,
      ),
    to: () => 'SCHEDULED',
  },
];

describe.each(CHANGES)('$verb $how', ({ verb, apply, to }) => {
  it.each(TASK_STATUSES)('from %s', async (from) => {
    const id = await tasks.taskIn(from);
    const before = await tasks.row(id);
    expect(before.status).toBe(from);

    await apply(id);

    const after = await tasks.row(id);
    const legal = TRANSITIONS[verb].from.includes(from);
    expect(after.status).toBe(legal ? to(from) : from);
    if (legal) expect(TRANSITIONS[verb].to).toContain(after.status);
    // The attempt number is the fencing token, so only a start may change it.
    expect(after.attempt).toBe(before.attempt + (verb === 'start' && legal ? 1 : 0));
    expect(after.finished_at !== null).toBe(isTerminal(after.status));
    expect(after.worker_id !== null).toBe(after.status === 'PROCESSING');
  });
});

it('tests every verb that PostgreSQL carries out', () => {
  const tried = new Set(CHANGES.map(({ verb }) => verb));
  // A promotion changes only Redis.
  expect(Object.keys(TRANSITIONS).filter((verb) => !tried.has(verb as Verb) && verb !== 'promote')).toEqual([]);
});
