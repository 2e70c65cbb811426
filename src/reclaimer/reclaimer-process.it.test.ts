import { beforeEach, describe, expect, it } from 'vitest';
import { migrate, startPostgres, startRedis } from '../../test/harness/private-stores.ts';
import { startProcess, untilTrue, type LogLine, type TestProcess } from '../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../test/harness/sweeping.ts';

const FAST = { SWEEP_INTERVAL: '100ms', HEARTBEAT_INTERVAL: '100ms', HEARTBEAT_TTL: '500ms', HEARTBEAT_GAP: '300ms' };
let stores: TestStores;
let parts: SweepTestParts;

beforeEach(async () => {
  stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  await parts.queue.setSettings('default', { version: 1, paused: false });
});

const reclaimer = (env: Record<string, string>, ...args: string[]): TestProcess =>
  startProcess(['node', 'src/main.ts', 'reclaimer', ...args], { ...stores.env, ...FAST, ...env });

const says =
  (text: string) =>
  (line: LogLine): boolean =>
    line['msg'] === text;

async function passes(): Promise<number> {
  const [row] = await parts.sql<{ passes: number }>('SELECT passes_by_reclaimer AS passes FROM sweeper');
  return row?.passes ?? 0;
}

describe('scheduler reclaimer', () => {
  it('sweeps for its window and exits 0', async () => {
    const one = reclaimer({ RECLAIMER_WINDOW: '2s' });
    expect(await one.waitForExit()).toEqual({ code: 0, signal: null });
    expect(await passes()).toBeGreaterThan(1);
  });

  it('exits 1 with the reason if no pass succeeded in its window', async () => {
    const one = reclaimer({ RECLAIMER_WINDOW: '500ms', REDIS_URL: 'redis://127.0.0.1:1/0' });
    expect(await one.waitForExit()).toEqual({ code: 1, signal: null });
    const line = await one.waitForLine(says('stopping after a failure'));
    expect(line).toMatchObject({ level: 'fatal', err: { code: 'nothing_swept' } });
    expect(JSON.stringify(line['err'])).toContain('redis is unavailable');
  });

  it('exits 1 with the name of the duty that failed in every pass', async () => {
    await parts.sql(`ALTER TABLE queues RENAME COLUMN paused TO renamed`);
    const one = reclaimer({ RECLAIMER_WINDOW: '500ms' });
    expect(await one.waitForExit()).toEqual({ code: 1, signal: null });
    const { err } = await one.waitForLine(says('stopping after a failure'));
    expect(JSON.stringify(err)).toContain('these duties failed: queues');
  });

  it.each([
    ['exits 0 if another holder of the lease sweeps', `clock_timestamp() - interval '1 second'`, 0],
    ['exits 1 if another holder of the lease completes no pass', 'NULL', 1],
  ])('%s', async (_, lastSuccess, code) => {
    await parts.sql(
      `UPDATE sweeper SET holder = 'another', until = clock_timestamp() + interval '1 hour', last_success_at = ${lastSuccess}`,
    );
    const one = reclaimer({ RECLAIMER_WINDOW: '500ms' });
    expect(await one.waitForExit()).toEqual({ code, signal: null });
    const why = one.lines.filter(says('stopping after a failure')).map(({ err }) => JSON.stringify(err));
    expect(why).toHaveLength(code);
    if (code === 1) expect(why[0]).toContain('another process holds the lease but completes no pass');
  });

  it('exits 0 if it is told to end before its first pass', async () => {
    await parts.sql(`UPDATE sweeper SET holder = 'another', until = clock_timestamp() + interval '1 hour'`);
    const one = reclaimer({ RECLAIMER_WINDOW: '60s' });
    await one.waitForLine(says('reclaimer started'));
    one.signal('SIGTERM');
    expect(await one.waitForExit()).toEqual({ code: 0, signal: null });
  });

  it('--loop sweeps until it is stopped', async () => {
    const one = reclaimer({ RECLAIMER_WINDOW: '0s' }, '--loop');
    await untilTrue(async () => (await passes()) > 3);
    one.signal('SIGTERM');
    expect(await one.waitForExit()).toEqual({ code: 0, signal: null });
  });

  it('two at once take the tasks of a dead worker back only once, and log the trace ids', async () => {
    const tasks = Array.from({ length: 30 }, (_, i) => parts.newTask({ traceId: `trace-${i}` }));
    await parts.submit(tasks);
    await parts.start('dead.1');
    await parts.beaten('dead.1', 0);
    const both = [reclaimer({}, '--loop'), reclaimer({}, '--loop')];
    // Earlier, a signal would kill a process that has not yet installed its signal handler.
    for (const one of both) await one.waitForLine(says('reclaimer started'));
    await untilTrue(async () => (await parts.sql(`SELECT FROM tasks WHERE status = 'PROCESSING'`)).length === 0);
    for (const one of both) one.signal('SIGTERM');
    for (const one of both) expect(await one.waitForExit()).toEqual({ code: 0, signal: null });
    const lines = both.flatMap((one) => one.lines);
    expect(lines.filter(says('worker presumed dead, its tasks were reclaimed'))).toHaveLength(1);
    const traces = lines.filter(says('task reclaimed')).map((line) => String(line['trace_id']));
    expect(traces.toSorted()).toEqual(tasks.map(({ traceId }) => traceId).toSorted());
    expect(await parts.sql('SELECT DISTINCT lost FROM tasks')).toEqual([{ lost: 1 }]);
  });

  it('warns of a task that was lost too often and is given up', async () => {
    const task = parts.newTask();
    await parts.submit([task]);
    await parts.start('dead.1');
    await parts.beaten('dead.1', 0);
    const one = reclaimer({ LOST_CAP: '1' }, '--loop');
    const line = await one.waitForLine(says('task lost too often, now in the dead letters'));
    expect(line).toMatchObject({ level: 'warn', task_id: task.id, attempt: 1, lost: 1, dead_worker_id: 'dead.1' });
    expect(one.lines.filter(says('task reclaimed'))).toEqual([]);
  });

  it('continues the work of one that was killed half-way', async () => {
    await parts.submit(Array.from({ length: 3_000 }, () => parts.newTask()));
    for (let i = 0; i < 3; i++) await parts.start('dead.1');
    await parts.beaten('dead.1', 0);
    const first = reclaimer({}, '--loop');
    await first.waitForLine(says('task reclaimed'));
    first.signal('SIGKILL');
    await first.waitForExit();
    reclaimer({}, '--loop');
    await untilTrue(async () => (await parts.queue.counts('default')).ready === 3_000, { timeoutMs: 30_000 });
    expect(await parts.sql('SELECT DISTINCT status::text AS status, lost FROM tasks')).toEqual([
      { status: 'PENDING', lost: 1 },
    ]);
    expect((await parts.queue.counts('default')).inflight).toBe(0);
  });

  it('survives outages of both stores, with one warning each, and continues when they are back', async () => {
    const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
    const env = { DATABASE_URL: postgres.url, REDIS_URL: redis.url };
    const one = reclaimer(env, '--loop');
    // Without a schema no pass can succeed. The reclaimer logs an error, but it does not exit.
    await one.waitForLine(says('pass failed'));
    await migrate({ ...stores.env, ...env });
    const alone = await openSweepParts(
      (await createTestStores({ databaseUrl: postgres.url, redisUrl: redis.url })).env,
    );
    const passed = async (): Promise<number> => {
      const [row] = await alone.sql<{ passes: number }>('SELECT passes_by_reclaimer AS passes FROM sweeper');
      return row?.passes ?? 0;
    };
    await untilTrue(async () => (await passed()) > 0);
    const away = (): number => one.lines.filter(says('store does not answer')).length;
    await postgres.stop();
    await untilTrue(() => away() === 1);
    // Stop PostgreSQL first: while Redis is down, the reclaimer does not ask PostgreSQL.
    await redis.stop();
    await untilTrue(() => away() === 2);
    await postgres.restart();
    await redis.restart();
    const before = await untilTrue(passed);
    await untilTrue(async () => (await passed()) > before);
    await untilTrue(() => one.lines.filter(says('store answers again')).length === 2);
    one.signal('SIGTERM');
    expect(await one.waitForExit()).toEqual({ code: 0, signal: null });
    expect(away()).toBe(2);
    expect(one.lines.filter(says('store answers again'))).toHaveLength(2);
  });
});
