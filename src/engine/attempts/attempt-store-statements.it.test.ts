import { beforeAll, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import type { Run } from '../../postgres/database.ts';
import { createAttemptStore, type Settlement } from './attempt-store.ts';

let parts: TestParts;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
});

async function committed(count: number): Promise<string[]> {
  const tasks = Array.from({ length: count }, () => parts.newTask());
  await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
  return tasks.map(({ id }) => id);
}

const completed = (id: string): Settlement => ({
  id,
  attempt: 1,
  outcome: { verb: 'complete', result: null },
  reason: null,
});

it('an outcome that another transaction commits meanwhile is already written, not locked', async () => {
  const [id = ''] = await committed(1);
  await parts.store.start([id], 'w', 3, true);
  const written = Promise.withResolvers<void>();
  const mayCommit = Promise.withResolvers<void>();
  // The first settle, whose answer will be lost, holds the row until the second one has passed it by.
  const first = parts.database.transaction(async (run) => {
    await createAttemptStore({ run }).settle('w', [completed(id)]);
    written.resolve();
    await mayCommit.promise;
  });
  await written.promise;
  const asked: string[] = [];
  const run: Run = async (statement, values) => {
    asked.push(statement.name);
    if (statement.name === 'unsettled-verdicts') {
      mayCommit.resolve();
      await first;
    }
    return parts.database.run(statement, values);
  };
  const results = await createAttemptStore({ run }).settle('w', [completed(id)]);
  expect(results).toEqual([{ id, attempt: 1, verdict: 'already', verb: 'complete' }]);
  expect(asked).toEqual(['settle', 'unsettled-verdicts']);
});

it('each outcome of a batch gets one verdict, whether it was written or not', async () => {
  const ids = await committed(3);
  await parts.store.start(ids.slice(0, 2), 'w', 3, true);
  await parts.store.settle('w', [completed(ids[0] as string)]);
  const results = await parts.store.settle('w', ids.map(completed));
  expect(new Map(results.map(({ id, verdict }) => [id, verdict]))).toEqual(
    new Map([
      [ids[0], 'already'],
      [ids[1], 'settled'],
      [ids[2], 'stale'],
    ]),
  );
  expect(results).toHaveLength(3);
});

it('verdicts of starts have the order of the ids, in whatever order PostgreSQL returns the rows', async () => {
  const ids = await committed(3);
  const run: Run = async (statement, values) =>
    (await parts.database.run<object>(statement, values)).toReversed() as never;
  const asked = [ids[1], ids[2], ids[0]] as string[];
  const results = await createAttemptStore({ run }).start(asked, 'w', 3, true);
  expect(results.map((result) => (result.verdict === 'started' ? result.task.id : result.verdict))).toEqual(asked);
});
