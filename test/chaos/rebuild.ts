import { withConnection } from '../../scripts/stores/postgres.ts';
import { memberOf, type Priority } from '../../src/core/priority.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { startClients } from './clients.ts';
import { onMasters } from './redis-under-test.ts';
import { SHORT_SETTINGS } from './settings.ts';
import { REDIS_PREFIX, startSystem, type ChaosSystem } from './system.ts';
import { until } from './until.ts';

export interface RebuildFigures {
  readonly tasks: number;
  /** Time from FLUSHALL until the first task of the queue starts. */
  readonly firstStartMs: number;
  /** Time from FLUSHALL until Redis holds all waiting tasks. */
  readonly wholeMs: number;
  /** Whether Redis holds them in the order of priority, place and id. */
  readonly inOrder: boolean;
}

/** The promised bounds for this number of tasks. */
export const REBUILD = { tasks: 200_000, firstStartMs: 5_000, wholeMs: 60_000 } as const;

const QUEUE = 'default';

/** Measures a rebuild after FLUSHALL, with 200,000 waiting tasks that run so long that most of them keep waiting. */
export async function measureRebuild(directory: string): Promise<RebuildFigures> {
  const settings = { ...SHORT_SETTINGS, postgresClockAheadMs: 0, apis: 1, workers: 1, reclaimers: 1 };
  const system = await startSystem({ settings, directory });
  const clients = startClients(system.apiUrls, { ...settings, clients: 0 }, 1, `${directory}/history.jsonl`);
  try {
    const pattern = await clients.submitKind('work', { queue: QUEUE, ms: 1 });
    await withConnection(system.postgres.url, (client) => client.query(MULTIPLY, [pattern, REBUILD.tasks]));
    const fromMs = performance.now();
    const { ready } = createKeys(REDIS_PREFIX, '').queue(QUEUE);
    await onMasters(system.redis, (redis) => redis.flushall());
    const started = until('the first task is started', async () => (await countStarted(system, pattern)) > 0);
    const firstStartMs = started.then(() => performance.now() - fromMs);
    await until('Redis holds all of them', async () => {
      const [held] = await onMasters(system.redis, (redis) => redis.zcard(ready));
      return (held as number) >= REBUILD.tasks - settings.slots;
    });
    const wholeMs = Math.round(performance.now() - fromMs);
    const inOrder = await isInOrder(system, ready);
    return { tasks: REBUILD.tasks, firstStartMs: Math.round(await firstStartMs), wholeMs, inOrder };
  } finally {
    await clients.stop();
    await system.stopProcesses();
    await system.remove();
  }
}

async function countStarted({ postgres }: ChaosSystem, except: string): Promise<number> {
  const text = 'SELECT count(*)::int AS count FROM execution_logs WHERE task_id <> $1';
  return withConnection(postgres.url, async (client) => Number((await client.query(text, [except])).rows[0].count));
}

async function isInOrder(system: ChaosSystem, ready: string): Promise<boolean> {
  const [held = []] = await onMasters(system.redis, (redis) => redis.zrange(ready, '0', '-1'));
  const text = `
    SELECT id, priority, place_ms::float8 AS "placeMs" FROM tasks WHERE queue = $1 AND status = 'PENDING'
    ORDER BY priority, place_ms, id`;
  const { rows } = await withConnection(system.postgres.url, (client) => client.query(text, [QUEUE]));
  const waiting = (rows as { id: string; priority: Priority; placeMs: number }[]).map(memberOf);
  return waiting.length === held.length && waiting.every((member, i) => member === held[i]);
}

/** Inserts $2 copies of task $1, with a hundred places per millisecond; each runs for an hour. */
const MULTIPLY = `
  WITH copies AS MATERIALIZED (
    SELECT (substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid AS id,
           1 + i % 3 AS priority, ms
    FROM (SELECT i, (extract(epoch FROM now()) * 1000)::bigint + i / 100 AS ms FROM generate_series(0, $2::int - 1) AS i) s,
         LATERAL (SELECT lpad(to_hex(s.ms), 12, '0') AS hex) h
  ), asked AS (
    INSERT INTO submissions (id, queue, action, payload, priority, max_retries, backoff, timeout_ms, trace_id)
    SELECT c.id, s.queue, s.action, '{"ms":3600000}', c.priority, s.max_retries, s.backoff, s.timeout_ms, s.trace_id
    FROM submissions s, copies c
    WHERE s.id = $1
    RETURNING id, queue
  )
  INSERT INTO unfinished (id, queue, priority, place_ms, status, run_at)
  SELECT id, a.queue, c.priority, c.ms, 'PENDING', now()
  FROM asked a
  JOIN copies c USING (id)`;
