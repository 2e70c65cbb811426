import type pg from 'pg';
import { describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { startLossyProxy } from '../harness/lossy-proxy.ts';
import { startPgBouncer } from '../harness/pgbouncer.ts';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores, type TestStores } from '../harness/stores.ts';
import { startSystem } from '../harness/system.ts';

/** The promised bound for the tasks of a dead worker. */
const BACK_WITHIN_MS = 15_000;

/** The default of HEARTBEAT_TTL. */
const HEARTBEAT_TTL_MS = 10_000;

/** Timeout of a test. It is long, because processes start slowly on a busy machine. The tests measure the bounds. */
const PATIENCE_MS = 150_000;

const POOLED = { DATABASE_PREPARED_STATEMENTS: 'false' };

/** Runs `body` with a lock on the table: from `hold` until `release`, all writes to the table wait. */
async function withLock(
  stores: TestStores,
  table: string,
  body: (lock: {
    hold(): Promise<void>;
    untilSomebodyWaits(): Promise<void>;
    release(): Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  await withConnection(stores.databaseUrl, async (holder: pg.Client) => {
    await body({
      hold: async () => void (await holder.query(`BEGIN; LOCK TABLE ${table} IN SHARE MODE`)),
      untilSomebodyWaits: async () => {
        const waits = `SELECT FROM pg_locks WHERE relation = '${table}'::regclass AND NOT granted`;
        await untilTrue(async () => ((await holder.query(waits)).rowCount ?? 0) > 0);
      },
      release: async () => void (await holder.query('ROLLBACK')),
    });
  });
}

const batch = (payload: unknown, count: number, seconds = 0): object[] =>
  Array.from({ length: count }, () => ({ payload, execution_time: seconds }));

describe('an API that is frozen inside a transaction', () => {
  it.each([
    ['with prepared statements', async () => ({})],
    ['without prepared statements', async () => POOLED],
    [
      'behind PgBouncer',
      async ({ databaseUrl }: TestStores) => ({ ...POOLED, DATABASE_URL: (await startPgBouncer(databaseUrl)).url }),
    ],
  ])(
    'blocks neither the queue that it has just made nor the idempotency key, %s',
    async (_how, environment) => {
      const stores = await createTestStores();
      const env = await environment(stores);
      const [frozen, other] = await Promise.all([startSystem(stores, env), startSystem(stores, env)]);
      await withLock(stores, 'submissions', async (lock) => {
        const tasks = { tasks: ['one', 'two'].map((key) => ({ payload: {}, queue: 'new', idempotency_key: key })) };
        await lock.hold();
        const never = frozen.post('/tasks/batch', tasks).catch(() => {});
        await lock.untilSomebodyWaits();
        frozen.api.signal('SIGSTOP');
        await lock.release();
        const [again, neighbour] = await Promise.all([
          other.post('/tasks/batch', tasks),
          other.post('/tasks', { payload: {}, queue: 'new' }),
        ]);
        expect([again.status, neighbour.status]).toEqual([200, 200]);
        frozen.api.signal('SIGKILL');
        await never;
        expect(await other.rows('SELECT FROM tasks')).toHaveLength(3);
      });
    },
    PATIENCE_MS,
  );
});

describe('tasks are claimable again in time after a worker', () => {
  it.each([
    ['froze while it settled', async () => POOLED],
    [
      'froze while it settled behind PgBouncer',
      async ({ databaseUrl }: TestStores) => ({ ...POOLED, DATABASE_URL: (await startPgBouncer(databaseUrl)).url }),
    ],
  ])(
    '%s',
    async (_how, environment) => {
      const stores = await createTestStores();
      const system = await startSystem(stores);
      const slots = { WORKER_SLOTS: '20' };
      const frozen = await system.startWorker({ ...slots, ...(await environment(stores)) });
      await withLock(stores, 'attempts', async (lock) => {
        await system.submitBatch(batch({}, 20, 2));
        await untilTrue(async () => (await running(system)) === 20);
        await lock.hold();
        await Promise.all([system.startReclaimer(), system.startWorker(slots)]);
        await lock.untilSomebodyWaits();
        frozen.signal('SIGSTOP');
        const since = performance.now();
        await lock.release();
        await untilTrue(async () => (await heldFirst(system)) === 0, { timeoutMs: 30_000 });
        expect(performance.now() - since).toBeLessThan(BACK_WITHIN_MS);
        expect(await system.untilAllEnded(30_000)).toEqual({ COMPLETED: 20 });
      });
    },
    PATIENCE_MS,
  );

  it(
    'lost its node while it settled',
    async () => {
      const stores = await createTestStores();
      const [postgres, redis] = [await startLossyProxy(stores.databaseUrl), await startLossyProxy(stores.redisUrl)];
      const system = await startSystem(stores);
      const slots = { WORKER_SLOTS: '20' };
      const away = { ...slots, ...POOLED, DATABASE_URL: postgres.url, REDIS_URL: redis.url };
      await system.startWorker(away);
      await withLock(stores, 'attempts', async (lock) => {
        await system.submitBatch(batch({}, 20, 2));
        await untilTrue(async () => (await running(system)) === 20);
        await lock.hold();
        await Promise.all([system.startReclaimer(), system.startWorker(slots)]);
        await lock.untilSomebodyWaits();
        for (const proxy of [postgres, redis]) {
          proxy.hangConnections();
          proxy.hangNewConnections();
        }
        const since = performance.now();
        await lock.release();
        await untilTrue(async () => (await heldFirst(system)) === 0, { timeoutMs: 30_000 });
        expect(performance.now() - since).toBeLessThan(BACK_WITHIN_MS);
      });
    },
    PATIENCE_MS,
  );

  it.each([
    ['with prepared statements', {}],
    ['without prepared statements', POOLED],
  ])(
    'did not read the answer to its start, %s',
    async (_how, env) => {
      const stores = await createTestStores();
      const system = await startSystem(stores, { WORKER_SLOTS: '200' });
      // This is more than the buffers of both ends can hold.
      const large = batch({ text: 'x'.repeat(250_000) }, 60);
      for (let i = 0; i < 3; i++) await system.submitBatch(large);
      await withLock(stores, 'unfinished', async (lock) => {
        await lock.hold();
        const frozen = await system.startWorker(env);
        await lock.untilSomebodyWaits();
        frozen.signal('SIGSTOP');
        const since = performance.now();
        await lock.release();
        // The rows are unlocked long before the worker is presumed dead.
        await untilTrue(
          async () => (await system.rows('SELECT FROM unfinished FOR UPDATE SKIP LOCKED')).length === 180,
          {
            timeoutMs: 30_000,
          },
        );
        expect(performance.now() - since).toBeLessThan(HEARTBEAT_TTL_MS);
        await Promise.all([system.startReclaimer(), system.startWorker()]);
        expect(await system.untilAllEnded(60_000)).toEqual({ COMPLETED: 180 });
      });
    },
    PATIENCE_MS,
  );
});

type System = Awaited<ReturnType<typeof startSystem>>;

async function running(system: System): Promise<number> {
  return (await system.rows(`SELECT FROM tasks WHERE status = 'PROCESSING'`)).length;
}

/** Counts the tasks that still run in their first attempt or whose rows are locked. */
async function heldFirst(system: System): Promise<number> {
  const [row] = await system.rows<{ n: number }>(`
    SELECT count(*)::int AS n FROM unfinished WHERE (status = 'PROCESSING' AND attempt = 1)
      OR id NOT IN (SELECT id FROM unfinished FOR KEY SHARE SKIP LOCKED)`);
  return row?.n ?? Number.NaN;
}
