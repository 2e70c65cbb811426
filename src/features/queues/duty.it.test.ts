import { beforeEach, expect, it } from 'vitest';
import { createTestStores } from '../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../test/harness/sweeping.ts';
import { deleteTasks, endTasks, insertTasks } from '../../../test/harness/task-rows.ts';
import { anActor } from '../../../test/harness/task-stores.ts';
import { createQueueStore } from './queue-store.ts';

const DAY = 86_400_000;
let parts: SweepTestParts;

beforeEach(async () => {
  parts = await openSweepParts((await createTestStores()).env);
});

const sweepOnce = (settings: { QUEUES_EXPIRY?: number } = {}) =>
  parts
    .newSweeper({ settings: { QUEUES_EXPIRY: 7 * DAY, ...settings }, limits: { pruneIntervalMs: 0 } })
    .runOnce('reclaimer');

const names = async (): Promise<string[]> =>
  (await parts.sql<{ name: string }>('SELECT name FROM queues ORDER BY name')).map(({ name }) => name);

/** Adds queues whose last known use was that many days ago. */
async function addQueues(daysAgo: number, ...queues: string[]): Promise<void> {
  await parts.store.submitAll([], { names: queues, most: 1_000 });
  await parts.sql(`UPDATE queues SET used_at = now() - $1::float8 * interval '1 day' WHERE name = ANY ($2::text[])`, [
    daysAgo,
    queues,
  ]);
}

const finish = (queue: string) => parts.sql(endTasks('COMPLETED', 'queue = $1'), [queue]);

it('deletes only queues that have had no task for the expiry time, in both stores', async () => {
  await addQueues(8, 'expired', 'waits', 'kept', 'paused', 'default');
  await addQueues(6, 'young');
  await parts.submit([parts.newTask({ queue: 'waits' }), parts.newTask({ queue: 'kept' })]);
  await finish('kept');
  await parts.sql(`UPDATE queues SET paused = true WHERE name = 'paused'`);
  // The queue has settings in Redis, like every queue that was swept once.
  await parts.queue.setSettings('expired', { version: 1, paused: false });

  expect(await sweepOnce()).toMatchObject({ failed: [], counted: { queues_expired: 1 } });
  expect(await names()).toEqual(['default', 'kept', 'paused', 'waits', 'young']);
  expect((await parts.queue.claim('expired', 'w', 1)).state).toBe('unknown');

  // Queues with tasks were noted as used now, even if the tasks are deleted soon after.
  await parts.sql(deleteTasks());
  expect(await sweepOnce()).toMatchObject({ counted: {} });
  await addQueues(8, 'kept');
  expect(await sweepOnce()).toMatchObject({ counted: { queues_expired: 1 } });
  expect(await names()).toEqual(['default', 'paused', 'waits', 'young']);
});

it('keeps all queues if the expiry is off', async () => {
  await addQueues(400, 'old');
  expect(await sweepOnce({ QUEUES_EXPIRY: 0 })).toMatchObject({ failed: [], counted: {} });
  expect(await names()).toEqual(['default', 'old']);
});

it('the expiry of a resumed queue starts again', async () => {
  await addQueues(8, 'resumed');
  await parts.sql(`UPDATE queues SET paused = true WHERE name = 'resumed'`);
  await createQueueStore(parts.database).setPaused('resumed', false, anActor());
  expect(await sweepOnce()).toMatchObject({ counted: {} });
});

it('continues in the next pass if one is too short, and sees tasks that were submitted meanwhile', async () => {
  await addQueues(8, 'expired', 'used-again');
  // These tasks are more than one slice.
  const id = `('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid`;
  await parts.sql(insertTasks({ id, status: `'COMPLETED'` }, 'FROM generate_series(1, 50001) AS n'));
  const sweep = () =>
    parts
      .newSweeper({ settings: { QUEUES_EXPIRY: 7 * DAY }, limits: { pruneIntervalMs: 0, dutyMs: 0 } })
      .runOnce('reclaimer');
  expect(await sweep()).toMatchObject({ failed: [], counted: {} });
  await parts.submit([parts.newTask({ queue: 'used-again' })]);
  expect(await sweep()).toMatchObject({ failed: [], counted: { queues_expired: 1 } });
  expect(await names()).toEqual(['default', 'used-again']);
});
