import { beforeEach, expect, it } from 'vitest';
import { statementNamed } from '../../../test/harness/assets.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../test/harness/sweeping.ts';

let parts: SweepTestParts;

beforeEach(async () => {
  parts = await openSweepParts((await createTestStores()).env);
});

/** Adds sessions that end in so many seconds. */
const add = (endsInSeconds: number, count: number) =>
  parts.sql(
    `INSERT INTO sessions (hash, id, client, secret_hash, address, expires_at)
     SELECT uuid_send(gen_random_uuid()), gen_random_uuid(), 'shop', 'x', '::1', now() + $1::float8 * interval '1 second'
     FROM generate_series(1, $2::int)`,
    [endsInSeconds, count],
  );

const left = async () =>
  Number((await parts.sql<{ count: number }>('SELECT count(*)::int AS count FROM sessions'))[0]?.count);

const sweep = (limits: object = {}) =>
  parts.newSweeper({ limits: { pruneIntervalMs: 0, ...limits } }).runOnce('reclaimer');

it('deletes sessions whose time is over, batch by batch, and no others', async () => {
  await add(-1, 25);
  await add(60, 5);
  expect(await sweep({ batchRows: 10 })).toMatchObject({ failed: [], counted: { sessions_pruned: 25 } });
  expect(await left()).toBe(5);
  expect(await sweep()).toMatchObject({ failed: [], counted: {} });
});

it('goes on in the next pass if one is too short', async () => {
  await add(-1, 25);
  const counts: number[] = [];
  for (let pass = 0; pass < 3; pass++) {
    await sweep({ batchRows: 10, dutyMs: 0 });
    counts.push(await left());
  }
  expect(counts).toEqual([15, 5, 0]);
});

it('deletes nothing for a process that does not hold the lease', async () => {
  await sweep();
  await add(-1, 1);
  const [lease] = await parts.sql<{ pass: number }>('SELECT pass FROM sweeper');
  const deleted = await parts.database.run(statementNamed('prune-sessions'), ['another', lease?.pass, 10]);
  expect(deleted).toEqual([{ deleted: 0 }]);
  expect(await left()).toBe(1);
});

it('leaves out what somebody else is ending', async () => {
  await add(-1, 1);
  await parts.database.transaction(async (run) => {
    await run({ name: '', text: 'SELECT FROM sessions FOR UPDATE' }, []);
    expect(await sweep()).toMatchObject({ failed: [] });
  });
  expect(await left()).toBe(1);
});
