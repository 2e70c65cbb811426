import { beforeAll, expect, it } from 'vitest';
import { type ApiFixture, createApiFixture } from '../../../test/api-fixture.ts';
import { dateOf, dayOf } from '../../../test/harness/old-tasks.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createDay, insertTasks } from '../../../test/harness/task-rows.ts';
import { FIRST_ID } from '../../core/ids.ts';
import { createLeaseStore } from '../../engine/sweep/lease-store.ts';
import { createPruneStore } from '../../engine/sweep/prune/prune-store.ts';

const DAY_MS = 86_400_000;
const RETENTION = { retentionMs: 7 * DAY_MS, failedRetentionMs: 30 * DAY_MS };
const [MOVED, MOST] = [6, 10];

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

const sql = (text: string) => api.tasks.database.run<{ id: string }>({ name: '', text }, []);

/** Adds a past day with failed tasks that must stay. @returns their ids, newest first */
async function addDay(day: string): Promise<string[]> {
  for (const statement of createDay(day)) await sql(statement);
  const id = `(left(lowest_task_id('${dateOf(day)} 12:00Z')::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
  const finished_at = `now() - interval '10 days'`;
  const ended = { id, status: `'FAILED'`, finished_at, metadata: `'{"customer":"4711"}'` };
  const rows = await sql(insertTasks(ended, `FROM generate_series(1, ${MOVED}) AS n`));
  await sql(`INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
             SELECT id, 1, 'default', 2, 'final_error', '[]', finished_at FROM finished ON CONFLICT DO NOTHING`);
  return rows
    .map((row) => row.id)
    .toSorted()
    .toReversed();
}

/** Moves the tasks of a day, and runs `act` while the move holds its locks. It is committed once `act` waits for it. */
async function duringMove<Result>(day: string, act: () => Promise<Result>): Promise<Result> {
  const { database } = api.tasks;
  const grant = await createLeaseStore(database).takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
  if (grant === null) throw new Error('the lease was free');
  await createPruneStore(database).surveyDay(grant, dateOf(day), FIRST_ID, RETENTION, 1_000, MOST);
  const acting = await database.transaction(async (run) => {
    expect(await createPruneStore({ runWithin: () => run }).dropDay(grant, dateOf(day), MOST)).toBe(MOVED);
    const acted = act();
    await untilTrue(
      async () => (await sql(`SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL`)).length > 0,
    );
    return () => acted;
  });
  return acting();
}

interface Page {
  readonly items: { readonly id: string }[];
  readonly next_cursor: string | null;
}
const page = async (path: string): Promise<Page> => (await api.get(path)).body as unknown as Page;
const idsOf = ({ items }: Page): string[] => items.map(({ id }) => id);

it('a task is found by its id while it is being moved, and afterwards', async () => {
  const [id] = await addDay(dayOf(20));
  const get = () => api.get(`/tasks/${id}`);
  const during = await duringMove(dayOf(20), get);
  expect([during.status, (await get()).status]).toEqual([200, 200]);
  expect(during.text).toBe((await get()).text);
});

it.each([
  ['/tasks?status=FAILED&limit=2', 21],
  ['/tasks?limit=2', 22],
  ['/tasks?metadata.customer=4711&limit=2', 23],
])('a list goes on behind its cursor while tasks are being moved, and afterwards: %s', async (path, daysAgo) => {
  await sql(`DELETE FROM submissions`);
  await sql(`DELETE FROM finished`);
  await sql(`DELETE FROM metadata_pairs`);
  const ids = await addDay(dayOf(daysAgo));
  const first = await page(path);
  const second = await duringMove(dayOf(daysAgo), () => page(`${path}&cursor=${first.next_cursor}`));
  const third = await page(`${path}&cursor=${second.next_cursor}`);
  expect([first, second, third].flatMap(idsOf)).toEqual(ids);
});
