import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { createIdSource, lowestIdAt } from '../../src/core/ids.ts';
import { insertTasks, PARTITIONED } from '../harness/task-rows.ts';
import type { OldTask } from './evidence.ts';

const DAY_MS = 86_400_000;

/** Ages in days. Completed tasks are kept for 7 days, failed ones for 30 (the defaults of RETENTION, RETENTION_FAILED). */
const OLD = [
  // These are in partitions of their day, which are dropped as a whole.
  { daysAgo: 41, status: 'COMPLETED', isDue: true, hasPartition: true },
  { daysAgo: 41, status: 'FAILED', isDue: true, hasPartition: true },
  // The failed task is moved out of its day, so that the other one is dropped with it.
  { daysAgo: 20, status: 'COMPLETED', isDue: true, hasPartition: true },
  { daysAgo: 20, status: 'FAILED', isDue: false, hasPartition: true },
  // These are in the default partitions.
  { daysAgo: 33, status: 'FAILED', isDue: true, hasPartition: false },
  { daysAgo: 9, status: 'COMPLETED', isDue: true, hasPartition: false },
  { daysAgo: 5, status: 'COMPLETED', isDue: false, hasPartition: false },
] as const;

/** Writes tasks that ended long ago, each after a retry, so that the sweeper has to prune most of them during the run. */
export async function insertOldTasks(client: pg.Client): Promise<OldTask[]> {
  const days = new Set(OLD.filter(({ hasPartition }) => hasPartition).map(({ daysAgo }) => daysAgo));
  for (const daysAgo of days) await addPartitions(client, daysAgo);
  const inserted: OldTask[] = [];
  for (const { daysAgo, status, isDue } of OLD) {
    const atMs = midnight(daysAgo) + DAY_MS / 2;
    const id = createIdSource(() => atMs, randomBytes).next('default');
    const at = (afterMs: number): string => `to_timestamp(${(atMs + afterMs) / 1_000})`;
    const times = { run_at: at(0), started_at: at(4_000), finished_at: at(5_000) };
    const counters = { attempt: '2', failures: status === 'FAILED' ? '2' : '1' };
    await client.query(
      insertTasks({
        id: `'${id}'::uuid`,
        status: `'${status}'`,
        place_ms: `${atMs}`,
        metadata: `'{"age":"${daysAgo}"}'`,
        ...counters,
        ...times,
      }),
    );
    await client.query(
      `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
       VALUES ($1, 1, 'test', 1, ${at(1)}, ${at(1_000)}, 'RETRIED')`,
      [id],
    );
    if (status === 'FAILED')
      await client.query(
        `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
         VALUES ($1, 2, 'default', 2, 'final_error', '[]', ${at(5_000)})`,
        [id],
      );
    inserted.push({ id, isDue });
  }
  return inserted;
}

const midnight = (daysAgo: number): number => (Math.floor(Date.now() / DAY_MS) - daysAgo) * DAY_MS;

async function addPartitions(client: pg.Client, daysAgo: number): Promise<void> {
  const fromMs = midnight(daysAgo);
  const day = new Date(fromMs).toISOString().slice(0, 10).replaceAll('-', '');
  const range = `FROM ('${lowestIdAt(fromMs)}') TO ('${lowestIdAt(fromMs + DAY_MS)}')`;
  for (const parent of PARTITIONED)
    await client.query(`CREATE TABLE ${parent}_${day} PARTITION OF ${parent} FOR VALUES ${range}`);
}
