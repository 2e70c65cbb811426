import { beforeEach, expect, it } from 'vitest';
import { statementNamed } from '../../../test/harness/assets.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../test/harness/sweeping.ts';

const DAY = 86_400_000;
let parts: SweepTestParts;

beforeEach(async () => {
  parts = await openSweepParts((await createTestStores()).env);
});

const add = (daysAgo: number, count: number) =>
  parts.sql(
    `INSERT INTO audit (id, at, client, action, outcome, address)
     SELECT gen_random_uuid(), now() - $1::float8 * interval '1 day', 'ops', 'queue.pause', 'allowed', '::1'
     FROM generate_series(1, $2::int)`,
    [daysAgo, count],
  );

const left = async () =>
  Number((await parts.sql<{ count: number }>('SELECT count(*)::int AS count FROM audit'))[0]?.count);

const sweep = (limits: object = {}) =>
  parts
    .newSweeper({ settings: { AUDIT_RETENTION: 30 * DAY }, limits: { pruneIntervalMs: 0, ...limits } })
    .runOnce('reclaimer');

it('deletes rows whose retention is over, batch by batch, and no others', async () => {
  await add(31, 25);
  await add(29, 5);
  expect(await sweep({ batchRows: 10 })).toMatchObject({ failed: [], counted: { audit_rows_pruned: 25 } });
  expect(await left()).toBe(5);
  expect(await sweep()).toMatchObject({ failed: [], counted: {} });
});

it('goes on in the next pass if one is too short', async () => {
  await add(31, 25);
  const counts: number[] = [];
  for (let pass = 0; pass < 3; pass++) {
    await sweep({ batchRows: 10, dutyMs: 0 });
    counts.push(await left());
  }
  expect(counts).toEqual([15, 5, 0]);
});

it('deletes nothing for a process that does not hold the lease', async () => {
  await add(31, 1);
  await sweep({ dutyMs: 0, batchRows: 1 });
  await add(31, 1);
  const [lease] = await parts.sql<{ pass: number }>('SELECT pass FROM sweeper');
  const deleted = await parts.database.run(statementNamed('prune-audit'), ['another', lease?.pass, DAY, 10]);
  expect(deleted).toEqual([{ deleted: 0 }]);
  expect(await left()).toBe(1);
});

it('keeps rows that are just being written', async () => {
  await add(31, 1);
  await parts.database.transaction(async (run) => {
    await run({ name: '', text: 'SELECT FROM audit FOR UPDATE' }, []);
    expect(await sweep()).toMatchObject({ failed: [] });
  });
  expect(await left()).toBe(1);
});
