import { randomBytes } from 'node:crypto';
import { createIdSource } from '../src/core/ids.ts';
import { memberOf, PRIORITIES, scoreOf } from '../src/core/priority.ts';
import { insertTasks } from '../test/harness/task-rows.ts';
import type { Arena } from './contender.ts';
import { payloadOf, type SchedulerContender } from './contenders/scheduler.ts';

/** Rows per statement. Rows are inserted directly, because submitting and executing tasks would take too long. */
const PAGE = 20_000;

/** What all of these tasks have in common. `FILLED_BY` is the worker of their attempts. */
export const FILLED_BY = 'bench';
const FILLED = { payload: '$2::json', timeout_ms: '1800000', trace_id: `'bench'` };

/** The place of a task that never moved: the milliseconds of its id. */
const PLACE_OF_ID = `('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint`;

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
      insertTasks(
        { ...FILLED, id: 'id', priority: '3', place_ms: PLACE_OF_ID, run_at: `now() - interval '1 hour'` },
        'FROM unnest($1::uuid[]) AS id',
      ),
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

export interface Finished {
  readonly count: number;
  /** How long ago they finished. */
  readonly ageDays?: number;
  /**
   * Whether one in a hundred has failed, and another one in a hundred has the metadata `customer`, with one of
   * `CUSTOMERS` names. Otherwise all have completed, without metadata.
   */
  readonly isMixed?: boolean;
}

/** Rows per statement of finished tasks. */
const FINISHED_PAGE = PAGE * 10;

export const CUSTOMERS = 40;

/** Adds finished tasks, each after one attempt. */
export async function fillFinished(
  { stores }: Pick<Arena, 'stores'>,
  to: Pick<SchedulerContender, 'databaseUrl'>,
  { count, ageDays = 0, isMixed = false }: Finished,
): Promise<void> {
  const then = `now() - $3::float8 * interval '1 day'`;
  const id = `(left(lowest_task_id(${then})::text, 15) || lpad(to_hex((random() * 4095)::int), 3, '0')
               || '-8' || substr(gen_random_uuid()::text, 21))::uuid`;
  const times = { run_at: then, started_at: then, finished_at: then };
  const mixed = {
    status: `CASE n % 100 WHEN 0 THEN 'FAILED' ELSE 'COMPLETED' END`,
    metadata: `CASE n % 100 WHEN 1 THEN json_build_object('customer', (n / 100 % ${CUSTOMERS})::text) END`,
  };
  for (let done = 0; done < count; done += FINISHED_PAGE) {
    await stores.query(
      to.databaseUrl,
      insertTasks(
        { ...FILLED, ...times, id, worker_id: `'${FILLED_BY}'`, ...(isMixed ? mixed : { status: `'COMPLETED'` }) },
        'FROM generate_series(1, $1::int) AS n',
      ),
      [Math.min(FINISHED_PAGE, count - done), JSON.stringify(payloadOf(NOT_COUNTED, 0)), ageDays],
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
  const holders = Array.from({ length: workers }, (_, i) => `${FILLED_BY}.${i}`);
  const ids = newIds();
  for (let done = 0; done < count; done += PAGE) {
    const page = ids(Math.min(PAGE, count - done));
    await stores.query(
      to.databaseUrl,
      insertTasks(
        {
          ...FILLED,
          id: 'id',
          priority: '3',
          status: `'PROCESSING'`,
          place_ms: PLACE_OF_ID,
          worker_id: `'${FILLED_BY}.' || n % $3::int`,
        },
        'FROM unnest($1::uuid[]) WITH ORDINALITY AS u (id, n)',
      ),
      [page, JSON.stringify(payloadOf(NOT_COUNTED, 0)), workers],
    );
    const claims = page.flatMap((id, i) => [
      `${PRIORITIES.Low}:${id}`,
      `${FILLED_BY}.${(i + 1) % workers} ${Date.now() - ageMs}`,
    ]);
    await stores.redis.hset(to.queueKeys.inflight, ...claims);
  }
  return holders;
}

function newIds(): (count: number) => string[] {
  const source = createIdSource(Date.now, randomBytes);
  return (count) => Array.from({ length: count }, () => source.next('default'));
}
