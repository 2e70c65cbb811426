import { randomBytes } from 'node:crypto';
import { createIdSource } from '../src/core/ids.ts';
import { memberOf, PRIORITIES, scoreOf } from '../src/core/priority.ts';
import type { Arena } from './contender.ts';
import { payloadOf, type SchedulerContender } from './contenders/scheduler.ts';

/** Rows per statement. Rows are inserted directly, because submitting and executing tasks would take too long. */
const PAGE = 20_000;

/** A number above all that a tally counts, so that the tally ignores these tasks. */
const NOT_COUNTED = 2 ** 31;

/**
 * Adds tasks that have waited for an hour, as rows and as members in Redis. They have the lowest priority, so that
 * they come after all other tasks.
 */
export async function fillWaiting({ stores }: Arena, to: SchedulerContender, count: number): Promise<void> {
  const ids = newIds();
  for (let done = 0; done < count; done += PAGE) {
    const page = ids(Math.min(PAGE, count - done));
    await stores.query(
      to.databaseUrl,
      `INSERT INTO tasks (id, queue, payload, priority, status, place_ms, run_at, max_retries, timeout_ms, trace_id)
       SELECT id, 'default', $2::json, 3, 'PENDING', ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint, now() - interval '1 hour', 3, 1800000, 'bench'
       FROM unnest($1::uuid[]) AS id`,
      [page, JSON.stringify(payloadOf(NOT_COUNTED, 0))],
    );
    await zadd({ stores }, to.queueKeys.ready, page);
  }
}

async function zadd({ stores }: Pick<Arena, 'stores'>, key: string, ids: readonly string[]): Promise<void> {
  const entries = ids.flatMap((id) => {
    const position = {
      id,
      priority: PRIORITIES.Low,
      placeMs: Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16),
    };
    return [scoreOf(position), memberOf(position)];
  });
  await stores.redis.zadd(key, ...entries);
}

/** Adds completed tasks with one execution log each. @param ageDays how long ago they finished */
export async function fillFinished(
  { stores }: Arena,
  to: SchedulerContender,
  count: number,
  ageDays = 0,
): Promise<void> {
  for (let done = 0; done < count; done += PAGE * 10) {
    await stores.query(
      to.databaseUrl,
      `WITH filled AS (
         INSERT INTO tasks (id, queue, payload, priority, status, place_ms, run_at, attempt, max_retries, timeout_ms, trace_id, started_at, finished_at)
         SELECT (left(lowest_task_id(now() - $3::float8 * interval '1 day')::text, 15) || lpad(to_hex((random() * 4095)::int), 3, '0')
                 || '-8' || substr(gen_random_uuid()::text, 21))::uuid,
                'default', $2::json, 2, 'COMPLETED', 0, now() - $3::float8 * interval '1 day', 1, 3, 1800000, 'bench',
                now() - $3::float8 * interval '1 day', now() - $3::float8 * interval '1 day'
         FROM generate_series(1, $1::int)
         RETURNING id, started_at, finished_at
       )
       INSERT INTO execution_logs (task_id, attempt, worker_id, started_at, ordinal, finished_at, outcome)
       SELECT id, 1, 'bench', started_at, 1, finished_at, 'COMPLETED' FROM filled`,
      [Math.min(PAGE * 10, count - done), JSON.stringify(payloadOf(NOT_COUNTED, 0)), ageDays],
    );
  }
}

/** Adds tasks to both stores that `workers` have been running for `ageMs`. @returns the workers' ids */
export async function fillRunning(
  { stores }: Arena,
  to: SchedulerContender,
  count: number,
  workers: number,
  ageMs: number,
): Promise<string[]> {
  const holders = Array.from({ length: workers }, (_, i) => `bench.${i}`);
  const ids = newIds();
  for (let done = 0; done < count; done += PAGE) {
    const page = ids(Math.min(PAGE, count - done));
    await stores.query(
      to.databaseUrl,
      `WITH filled AS (
         INSERT INTO tasks (id, queue, payload, priority, status, place_ms, run_at, attempt, max_retries, timeout_ms, trace_id, worker_id, started_at)
         SELECT id, 'default', $2::json, 3, 'PROCESSING', ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint,
                now(), 1, 3, 1800000, 'bench', 'bench.' || n % $3::int, now()
         FROM unnest($1::uuid[]) WITH ORDINALITY AS u (id, n)
         RETURNING id, worker_id, started_at
       )
       INSERT INTO execution_logs (task_id, attempt, worker_id, started_at, ordinal)
       SELECT id, 1, worker_id, started_at, 1 FROM filled`,
      [page, JSON.stringify(payloadOf(NOT_COUNTED, 0)), workers],
    );
    const claims = page.flatMap((id, i) => [
      `${PRIORITIES.Low}:${id}`,
      `bench.${(i + 1) % workers} ${Date.now() - ageMs}`,
    ]);
    await stores.redis.hset(to.queueKeys.inflight, ...claims);
  }
  return holders;
}

function newIds(): (count: number) => string[] {
  const source = createIdSource(Date.now, randomBytes);
  return (count) => Array.from({ length: count }, () => source.next());
}
