import { beforeAll, expect, test } from 'vitest';
import { createTestStores } from '../../test/harness/stores.ts';
import { createWorkerBed, type WorkerBed } from '../../test/worker-bed.ts';
import { FinalError, RetryableError } from '../core/errors.ts';
import type { Handler } from '../engine/attempts/handler.ts';

/** Rows that exist already where an outcome has to be written. Only a fault can have written them. */

let bed: WorkerBed;

beforeAll(async () => {
  bed = createWorkerBed(await createTestStores());
});

const plant = (text: string, values: readonly unknown[]) => bed.database.run({ name: '', text }, values);

const plantEnd = (id: string) =>
  plant(
    `INSERT INTO finished (id, status, place_ms, run_at, attempt, failures, lost, finished_at)
     VALUES ($1, 'COMPLETED', 0, now(), 1, 0, 0, now()) ON CONFLICT DO NOTHING`,
    [id],
  );

const plantAttempt = (id: string, attempt: number) =>
  plant(
    `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
     VALUES ($1, $2, 'planted', 1, now(), now(), 'RETRIED')`,
    [id, attempt],
  );

const plantDeadLetter = (id: string, attempt: number) =>
  plant(
    `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
     VALUES ($1, $2, 'default', 2, 'final_error', '[]', now())`,
    [id, attempt],
  );

async function run(queue: string, handler: Handler) {
  const env = { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '100ms', LOST_CAP: '3' };
  const worker = await bed.startWorker({ env, actions: { run: handler, other: () => 'ran' } });
  const [id = '', ...others] = await bed.submit(['run', 'other', 'other'].map((action) => ({ queue, action })));
  await bed.untilStatus(others, ['COMPLETED']);
  const [task] = await bed.untilStatus([id], ['COMPLETED', 'FAILED']);
  const attempts = (await bed.attempts(id)).map(({ attempt, worker_id, outcome, error }) => ({
    attempt,
    worker_id: worker_id === worker.process.workerId ? 'own' : worker_id,
    outcome,
    code: (JSON.parse(error ?? '{}') as { code?: string }).code,
  }));
  expect(await bed.queue.counts(queue)).toMatchObject({ ready: 0, delayed: 0, inflight: 0 });
  const letters = await bed.database.run({ name: '', text: 'SELECT attempt, reason FROM dlq WHERE task_id = $1' }, [
    id,
  ]);
  return { task, attempts, letters };
}

const lost = (attempt: number) => ({ attempt, worker_id: 'own', outcome: 'LOST', code: 'outcome_refused' });

test.each<[string, Handler]>([
  ['completes', async ({ task }) => void (await plantEnd(task.id))],
  [
    'fails',
    async ({ task }) => {
      await plantEnd(task.id);
      throw new FinalError('no use');
    },
  ],
])('a task that %s, and has an end already, is buried at the lost cap', async (how, handler) => {
  const { task, attempts, letters } = await run(`end-${how}`, handler);
  expect(task).toMatchObject({ status: 'FAILED', attempt: 3, lost: 3, failures: 0 });
  expect(attempts).toEqual([1, 2, 3].map(lost));
  expect(letters).toEqual([{ attempt: 3, reason: 'lost_cap' }]);
});

test('a task that fails, and has a dead letter of the attempt already, is buried at the lost cap', async () => {
  const { task, attempts, letters } = await run('letter', async ({ task: { id, attempt } }) => {
    await plantDeadLetter(id, attempt);
    throw new FinalError('no use');
  });
  expect(task).toMatchObject({ status: 'FAILED', attempt: 3, lost: 3, failures: 0 });
  expect(attempts).toEqual([1, 2, 3].map(lost));
  expect(letters).toContainEqual({ attempt: 3, reason: 'lost_cap' });
});

test('an attempt that is to be retried, and is logged already, counts as lost, and the next one completes', async () => {
  const { task, attempts, letters } = await run('attempt', async ({ task: { id, attempt } }) => {
    if (attempt > 1) return;
    await plantAttempt(id, attempt);
    throw new RetryableError('again');
  });
  expect(task).toMatchObject({ status: 'COMPLETED', attempt: 2, lost: 1, failures: 0 });
  expect(attempts).toEqual([lost(1), { attempt: 2, worker_id: 'own', outcome: 'COMPLETED', code: undefined }]);
  expect(letters).toEqual([]);
});
