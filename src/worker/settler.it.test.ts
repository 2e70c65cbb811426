import { pino } from 'pino';
import { expect, test } from 'vitest';
import { untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createWorkerBed } from '../../test/worker-bed.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createTaskStore } from '../store/task-store.ts';
import type { SettledOutcome } from './aftermath.ts';
import { judgeResult } from './judge.ts';
import { releaseOf } from './open-outcome.ts';
import { createSettler } from './settler.ts';

test('an outcome whose first try commits only while its repeat waits for the lock is not taken for stale', async () => {
  const bed = createWorkerBed(await createTestStores());
  const [id = ''] = await bed.submit([{ action: 'x' }]);
  const [started] = await bed.store.start([id], 'me', 3, true);
  if (started?.verdict !== 'started') throw new Error('not started');
  const settled: SettledOutcome[] = [];
  let calls = 0;
  let firstTry: Promise<unknown> | undefined;
  const repeatWaits = async (): Promise<boolean> => {
    const text = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    return (await bed.database.run({ name: 'waits', text }, [])).length === 1;
  };
  const settler = createSettler({
    workerId: 'me',
    store: {
      async settle(workerId, settlements) {
        if (++calls > 1) return bed.store.settle(workerId, settlements);
        const written = Promise.withResolvers<void>();
        firstTry = bed.database.transaction(async (run) => {
          await createTaskStore({ ...bed.database, run }, 1).settle(workerId, settlements);
          written.resolve();
          await untilTrue(repeatWaits);
        });
        await written.promise;
        throw new StoreUnavailableError('postgresql', new Error('the answer was lost'));
      },
    },
    onSettled: (outcomes) => settled.push(...outcomes),
    log: pino({ level: 'silent' }),
  });

  const open = releaseOf(started.task);
  settler.add({ ...open, settlement: { ...open.settlement, ...judgeResult('kept') } });
  expect(await settler.drain(10_000)).toBe(true);
  await firstTry;

  expect(settled).toMatchObject([{ result: { verdict: 'already', verb: 'complete' } }]);
  expect(calls, 'the repeat was told stale, and asked again').toBe(3);
  expect(await bed.tasks([id])).toMatchObject([{ status: 'COMPLETED' }]);
});
