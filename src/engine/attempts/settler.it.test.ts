import { pino } from 'pino';
import { expect, test } from 'vitest';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createWorkerBed } from '../../../test/worker-bed.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { SettledOutcome } from './aftermath.ts';
import { createAttemptStore } from './attempt-store.ts';
import { judgeResult } from './judge.ts';
import { releaseOf } from './open-outcome.ts';
import { createSettler } from './settler.ts';

test('an outcome whose first try commits only after the second try is not judged stale', async () => {
  const bed = createWorkerBed(await createTestStores());
  const [id = ''] = await bed.submit([{ action: 'x' }]);
  const [started] = await bed.store.start([id], 'me', 3, true);
  if (started?.verdict !== 'started') throw new Error('not started');
  const settled: SettledOutcome[] = [];
  let calls = 0;
  let firstTry: Promise<unknown> | undefined;
  const settler = createSettler({
    workerId: 'me',
    store: {
      async settle(workerId, settlements) {
        if (++calls > 1) return bed.store.settle(workerId, settlements);
        const written = Promise.withResolvers<void>();
        firstTry = bed.database.transaction(async (run) => {
          await createAttemptStore({ ...bed.database, run }).settle(workerId, settlements);
          written.resolve();
          // The second try got the verdict `locked`, and is repeated.
          await untilTrue(() => calls >= 3);
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
  expect(calls).toBeGreaterThanOrEqual(3);
  expect(await bed.tasks([id])).toMatchObject([{ status: 'COMPLETED' }]);
});

test('a locked row delays no other outcome, and gets its own outcome when it is free', async () => {
  const bed = createWorkerBed(await createTestStores());
  const ids = await bed.submit(Array.from({ length: 6 }, () => ({ action: 'x' })));
  const started = await bed.store.start(ids, 'me', 3, true);
  const settled: SettledOutcome[] = [];
  const warnings: unknown[] = [];
  const settler = createSettler({
    workerId: 'me',
    store: bed.store,
    onSettled: (outcomes) => settled.push(...outcomes),
    log: pino({ level: 'warn' }, { write: (line: string) => warnings.push((JSON.parse(line) as { msg: string }).msg) }),
  });
  const add = (from: number, to: number): void => {
    for (const result of started.slice(from, to)) {
      if (result.verdict !== 'started') throw new Error('not started');
      const open = releaseOf(result.task);
      settler.add({ ...open, settlement: { ...open.settlement, ...judgeResult('kept') } });
    }
  };
  await bed.database.transaction(async (run) => {
    await run({ name: 'hold', text: 'SELECT FROM unfinished WHERE id = $1 FOR UPDATE' }, [ids[0]]);
    add(0, 4);
    await untilTrue(() => settled.length === 3);
    // Later outcomes do not wait either.
    add(4, 6);
    await untilTrue(() => settled.length === 5);
    expect(settler.has(`${ids[0]}:1`)).toBe(true);
    await untilTrue(() => warnings.length === 1);
    expect(await bed.tasks([ids[0] ?? ''])).toMatchObject([{ status: 'PROCESSING' }]);
  });
  expect(await settler.drain(10_000)).toBe(true);
  expect(settled.map(({ result }) => result.verdict)).toEqual(Array(6).fill('settled'));
  expect(warnings).toEqual(['an outcome waits because another transaction locks the row of its task']);
});
