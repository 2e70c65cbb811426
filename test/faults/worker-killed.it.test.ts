import { expect, it } from 'vitest';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem } from '../harness/system.ts';

interface Attempt {
  attempt: number;
  worker_id: string;
  outcome: string | null;
  started_at: Date;
}

it('the tasks of a killed worker start again within 15 s, with the other workers as the only reclaimers', async () => {
  const stores = await createTestStores();
  const system = await startSystem(stores);
  const doomed = await system.startWorker();
  const ids = await system.submitBatch(Array.from({ length: 5 }, () => ({ payload: null, execution_time: 8 })));
  await untilTrue(async () => {
    const running = await system.rows(`SELECT id FROM tasks WHERE status = 'PROCESSING'`);
    return running.length === ids.length;
  });
  const heir = await system.startWorker();

  // The last heartbeat is at most 3 s old.
  doomed.signal('SIGKILL');
  const killedAt = Date.now();
  await doomed.waitForExit();
  expect(await system.untilAllEnded(60_000)).toEqual({ COMPLETED: 5 });

  for (const id of ids) {
    const attempts = await system.rows<Attempt>(
      'SELECT attempt, worker_id, outcome, started_at FROM execution_logs WHERE task_id = $1 ORDER BY attempt',
      [id],
    );
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['LOST', 'COMPLETED']);
    expect(attempts[1]?.worker_id).not.toBe(attempts[0]?.worker_id);
    expect((attempts[1]?.started_at.getTime() ?? Number.POSITIVE_INFINITY) - killedAt).toBeLessThan(15_000);
  }
  const [budgets] = await system.rows('SELECT sum(lost)::int AS lost, sum(failures)::int AS failures FROM tasks');
  expect(budgets).toEqual({ lost: 5, failures: 0 });

  heir.signal('SIGTERM');
  expect(await heir.waitForExit()).toEqual({ code: 0, signal: null });
}, 90_000);
