import { readConfig } from '../../src/config/read-config.ts';
import { positionOf } from '../../src/core/priority.ts';
import { createAttemptStore } from '../../src/engine/attempts/attempt-store.ts';
import { createTaskQueue } from '../../src/engine/order/task-queue.ts';
import { createDatabase } from '../../src/postgres/database.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedis } from '../../src/redis/redis.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createOutage } from '../../src/telemetry/outage.ts';
import type { Arena } from '../contender.ts';
import { payloadOf, scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { CUSTOMERS, fillFinished, fillWaiting } from '../fill.ts';
import { entrantOf, type Entrant, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { settleStores } from './drain.ts';

/** Tasks of one claim. */
const CLAIM = 4;

interface Rows {
  readonly waiting: number;
  readonly finished: number;
}

/** Measures the statements of a store with very many rows: one call after the other, while nothing else happens. */
export function rows({ quick, waiting, finished }: Size): Scenario {
  const times = quick ? 40 : 400;
  const beside = (each: Rows): Entrant => {
    const name = `${each.waiting / 1_000}k waiting + ${each.finished / 1_000}k finished`;
    return entrantOf({ ...scheduler(), name, settings: `${times} calls of each` }, (arena) =>
      measureRows(arena, each, times),
    );
  };
  return {
    name: 'rows',
    title: 'Calls to a store with many rows, one after the other',
    goal: 'submit, claim, each page: p95 ≤ 1.2 × that of a store with few rows; pages ≤ 50 ms',
    unit: 'ms (p95 of a submission)',
    more: false,
    once: true,
    // Even the small store has enough rows for full pages.
    entrants: [beside({ waiting: 1_000, finished: quick ? 20_000 : 200_000 }), beside({ waiting, finished })],
  };
}

async function measureRows(arena: Arena, { waiting, finished }: Rows, times: number): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    await fillFinished(arena, contender, { count: finished, isMixed: true });
    await fillWaiting(arena, contender, waiting);
    await settleStores(contender, arena);
    const { baseUrl } = contender;
    const submitMs = await timed(times, (i) => post(new URL('/tasks', baseUrl), i));
    const { claimMs, settleMs } = await measureClaims(contender, Math.floor(times / CLAIM));
    const details: Record<string, number> = { [`p95 ms of a claim of ${CLAIM}, with its start`]: p95(claimMs) };
    details[`of a settle of ${CLAIM}`] = p95(settleMs);
    for (const [name, query] of Object.entries(LISTS)) details[name] = p95(await measurePages(baseUrl, query, times));
    details['a member of metadata (1 in 4,000)'] = p95(
      await timed(times, (i) => page(baseUrl, `metadata.customer=${i % CUSTOMERS}`, null)),
    );
    return { value: p95(submitMs), details };
  } finally {
    await contender.close();
  }
}

/** The lists whose pages are read one after the other. */
const LISTS = {
  'a page of the list': '',
  'status PENDING': 'status=PENDING',
  'status COMPLETED': 'status=COMPLETED',
  'status FAILED (1 in 100)': 'status=FAILED',
};

const p95 = (values: readonly number[]): number => quantile(values, 0.95);

/** Calls it a few times to warm up, then measures each of the calls. @returns milliseconds */
async function timed(times: number, call: (i: number) => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  const warmUp = Math.ceil(times / 10);
  for (let i = 0; i < warmUp + times; i++) {
    const startMs = performance.now();
    await call(i);
    if (i >= warmUp) took.push(performance.now() - startMs);
  }
  return took;
}

async function post(url: URL, n: number): Promise<void> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ payload: payloadOf(n, 0), priority: 'High' }),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`POST ${url.pathname} answered ${answer.status}: ${text}`);
}

interface Page {
  readonly items: readonly unknown[];
  readonly next_cursor: string | null;
}

async function page(baseUrl: URL, query: string, cursor: string | null): Promise<Page> {
  const url = new URL(`/tasks?${query}`, baseUrl);
  if (cursor !== null) url.searchParams.set('cursor', cursor);
  const answer = await fetch(url);
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`GET ${url.pathname}${url.search} answered ${answer.status}: ${text}`);
  const found = JSON.parse(text) as Page;
  if (found.items.length === 0) throw new Error(`GET ${url.pathname}${url.search} found nothing`);
  return found;
}

/** Reads page after page of a list, and begins anew at its end. */
async function measurePages(baseUrl: URL, query: string, times: number): Promise<number[]> {
  let cursor: string | null = null;
  return timed(times, async () => {
    ({ next_cursor: cursor } = await page(baseUrl, query, cursor));
  });
}

/** Claims, starts and settles the tasks that were submitted, as a worker does, but one call after the other. */
async function measureClaims(
  { environment }: SchedulerContender,
  times: number,
): Promise<{ claimMs: number[]; settleMs: number[] }> {
  const config = readConfig(environment);
  const log = createLogger('silent', {});
  const metrics = createMetrics();
  const database = createDatabase(config, createOutage('postgresql', log, metrics, Date.now), log);
  const redis = createRedis(config, createOutage('redis', log, metrics, Date.now), log);
  const queue = createTaskQueue(redis, createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX));
  const attempts = createAttemptStore(database);
  const worker = 'bench-worker-0.abcdef12';
  const settleMs: number[] = [];
  try {
    await redis.untilReady(10_000);
    await queue.setSettings('default', { version: 1, paused: false });
    const claimMs: number[] = [];
    for (let i = 0; i < times; i++) {
      const startMs = performance.now();
      const { members } = await queue.claim('default', worker, CLAIM);
      const positions = members.flatMap((member) => positionOf(member) ?? []);
      const results = await attempts.start(
        positions.map(({ id }) => id),
        worker,
        config.LOST_CAP,
        true,
      );
      const startedMs = performance.now();
      if (results.length !== CLAIM) throw new Error(`${results.length} instead of ${CLAIM} tasks were claimed`);
      const tasks = results.map((result) => {
        if (result.verdict !== 'started') throw new Error(`${result.id} is ${result.verdict}`);
        return result.task;
      });
      await attempts.settle(
        worker,
        tasks.map(({ id, attempt }) => ({ id, attempt, outcome: { verb: 'complete', result: null }, reason: null })),
      );
      await queue.settle(
        'default',
        worker,
        positions.map((position) => ({ position, verb: 'complete', waitMs: 0 })),
      );
      // The first call loads the scripts and connects.
      if (i > 0) claimMs.push(startedMs - startMs);
      if (i > 0) settleMs.push(performance.now() - startedMs);
    }
    return { claimMs, settleMs };
  } finally {
    await Promise.all([database.close(), redis.close()]);
  }
}
