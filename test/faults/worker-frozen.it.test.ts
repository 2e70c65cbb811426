import { expect, it } from 'vitest';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { SHORT_HEARTBEATS, startSystem } from '../harness/system.ts';

const EXECUTION_SECONDS = 5;

it('a resumed worker gets its outcome refused while the next attempt runs, and the task is settled once', async () => {
  const stores = await createTestStores();
  const system = await startSystem(stores, SHORT_HEARTBEATS);
  const zombie = await system.startWorker();
  const id = await system.submit({ payload: null, execution_time: EXECUTION_SECONDS });
  await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'PROCESSING');
  const startedAt = performance.now();

  zombie.signal('SIGSTOP');
  await system.startReclaimer();
  await system.startWorker();
  await untilTrue(async () => (await system.get(`/tasks/${id}`))['attempt'] === 2);
  // By now the first handler's time is over, so the resumed worker settles at once. Only the attempt number differs.
  await untilTrue(() => performance.now() - startedAt > EXECUTION_SECONDS * 1_000);
  zombie.signal('SIGCONT');

  await zombie.waitForLine(
    ({ msg, task_id }) => msg === 'outcome refused, the attempt is no longer the latest' && task_id === id,
  );
  await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'COMPLETED');
  const attempts = await system.rows(
    'SELECT attempt, outcome FROM execution_logs WHERE task_id = $1 ORDER BY attempt',
    [id],
  );
  expect(attempts).toEqual([
    { attempt: 1, outcome: 'LOST' },
    { attempt: 2, outcome: 'COMPLETED' },
  ]);
  const task = await system.get(`/tasks/${id}`);
  expect(task).toMatchObject({ status: 'COMPLETED', attempt: 2, lost: 1, failures: 0 });

  // The worker was declared dead once, but it continues to work under the same id.
  const next = await system.submitBatch(Array.from({ length: 40 }, () => ({ payload: null, execution_time: 0.2 })));
  await system.untilAllEnded(30_000);
  const workers = await system.rows('SELECT DISTINCT worker_id FROM execution_logs WHERE task_id = ANY ($1)', [next]);
  expect(workers).toHaveLength(2);
}, 90_000);
