import { beforeEach, describe, expect, it } from 'vitest';
import { positionOfTask } from '../../../../test/harness/parts.ts';
import { startRedis } from '../../../../test/harness/private-stores.ts';
import { createTestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import { memberOf } from '../../../core/priority.ts';
import type { NewTask } from '../../../core/task.ts';
import { createWorkerRegistry } from '../../presence/worker-registry.ts';
import type { SweepResult } from '../sweep-result.ts';

let parts: SweepTestParts;
const TTL = { HEARTBEAT_TTL: 10_000, HEARTBEAT_INTERVAL: 3_000 };

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  await parts.queue.setSettings('default', { version: 1, paused: false });
  // The last gap in the beats is long ago.
  await parts.gapEnded(3_600_000);
});

async function submit(count: number, changes: Partial<NewTask> = {}): Promise<NewTask[]> {
  const tasks = Array.from({ length: count }, () => parts.newTask(changes));
  await parts.submit(tasks);
  return tasks;
}

async function sweep(settings = {}): Promise<SweepResult> {
  const result = await parts.newSweeper({ settings: { ...TTL, ...settings } }).runOnce('reclaimer');
  expect(result).not.toBeNull();
  return result as SweepResult;
}

interface Row {
  readonly status: string;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly worker_id: string | null;
}

async function rowOf({ id }: NewTask): Promise<Row> {
  const [row] = await parts.sql<Row>(
    'SELECT status::text AS status, attempt, failures, lost, worker_id FROM tasks WHERE id = $1',
    [id],
  );
  return row as Row;
}

const logsOf = ({ id }: NewTask) =>
  parts.sql<{ attempt: number; outcome: string; error: string }>(
    'SELECT attempt, outcome::text AS outcome, error FROM execution_logs WHERE task_id = $1 ORDER BY attempt',
    [id],
  );

describe('the totals', () => {
  it('count the work of a pass, for the API to export', async () => {
    const totals = () => parts.sql('SELECT tasks_reclaimed, reconciled_claim, reconciled_scan FROM sweeper');
    await submit(3);
    await parts.start('dead.1', 2);
    await parts.queue.claim('default', 'dead.1', 1);
    await parts.beaten('dead.1', 10_100);
    await sweep();
    expect(await totals()).toEqual([{ tasks_reclaimed: 2, reconciled_claim: 1, reconciled_scan: 0 }]);
  });
});

describe('a worker that fell silent', () => {
  it('loses its tasks, which wait again in their old place and count a loss instead of a failure', async () => {
    const [first, second] = (await submit(2)) as [NewTask, NewTask];
    await parts.start('dead.1', 1);
    await parts.beaten('dead.1', 10_100);
    await parts.beaten('live.1', 1_000);

    const result = await sweep();
    expect(result).toMatchObject({ reclaimed: 1, buried: 0, cancelled: 0 });
    expect(await rowOf(first)).toEqual({ status: 'PENDING', attempt: 1, failures: 0, lost: 1, worker_id: null });
    const [log] = await logsOf(first);
    expect(log).toMatchObject({ attempt: 1, outcome: 'LOST' });
    expect(JSON.parse(log?.error ?? '')).toMatchObject({
      code: 'worker_lost',
      message: expect.stringContaining('dead.1'),
    });
    expect(await parts.claim('live.1')).toEqual([first, second].map((task) => memberOf(positionOfTask(task))));
    const left = await parts.sweepQueue.silences([]);
    expect(left.map(({ workerId }) => workerId)).toEqual(['live.1']);
  });

  it('has its last words stored with each of its lost attempts', async () => {
    const tasks = await submit(2);
    await parts.start('dead.1');
    const description = { id: 'dead.1', host: 'h', pid: 1, queues: ['default'], slots: 2, busy: 2, draining: false };
    const registry = createWorkerRegistry(parts.redis, parts.keys);
    await registry.end(
      { ...description, startedAt: '2026-01-01T12:00:00.000Z' },
      { reason: 'watchdog', message: 'too late' },
    );
    await parts.beaten('dead.1', 10_100);
    await sweep();
    for (const task of tasks) {
      const [log] = await logsOf(task);
      expect(JSON.parse(log?.error ?? '')).toMatchObject({
        code: 'worker_lost',
        message: 'worker dead.1 ended while it ran the attempt: too late',
      });
    }
  });

  it('loses unlocked rows at once, and a locked row in the next pass', async () => {
    const [settling, other] = (await submit(2)) as [NewTask, NewTask];
    await parts.start('dead.1');
    await parts.beaten('dead.1', 10_100);
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: 'SELECT id FROM unfinished WHERE id = $1 FOR NO KEY UPDATE' }, [settling.id]);
      expect(await sweep()).toMatchObject({ reclaimed: 1 });
    });
    expect((await rowOf(other)).status).toBe('PENDING');
    expect((await rowOf(settling)).status).toBe('PROCESSING');
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
  });

  it('loses all its tasks, also one whose outcome or attempt exists already', async () => {
    const [ended, logged, plain] = (await submit(3)) as [NewTask, NewTask, NewTask];
    await parts.start('dead.1');
    await parts.sql(
      `INSERT INTO finished (id, status, place_ms, run_at, attempt, failures, lost, finished_at)
       VALUES ($1, 'COMPLETED', 0, now(), 1, 0, 0, now())`,
      [ended.id],
    );
    await parts.sql(
      `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
       VALUES ($1, 1, 'planted', 1, now(), now(), 'RETRIED')`,
      [logged.id],
    );
    await parts.sql(
      `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at, requeued_at)
       VALUES ($1, 1, 'default', 2, 'final_error', '[]', now(), now())`,
      [plain.id],
    );
    await parts.beaten('dead.1', 10_100);
    await sweep({ LOST_CAP: 1 });
    for (const task of [ended, logged, plain]) {
      expect(await rowOf(task)).toMatchObject({ status: 'FAILED', attempt: 1, lost: 1 });
      expect(await logsOf(task)).toMatchObject([{ attempt: 1, outcome: 'LOST' }]);
    }
    expect(await parts.sql('SELECT reason, requeued_at FROM dlq')).toEqual(
      [1, 2, 3].map(() => ({ reason: 'lost_cap', requeued_at: null })),
    );
  });

  it('has its tasks made due again, so that the watermark finds them if Redis does not have them', async () => {
    const [task] = (await submit(1)) as [NewTask];
    await parts.start('dead.1');
    await parts.beaten('dead.1', 10_100);
    await sweep();
    const [row] = await parts.sql('SELECT run_at > started_at AS since FROM tasks WHERE id = $1', [task.id]);
    expect(row).toEqual({ since: true });
  });

  it('keeps its tasks while it is only late, and is reported as silent', async () => {
    const [task] = (await submit(1)) as [NewTask];
    await parts.start('late.1');
    await parts.beaten('late.1', 9_000);
    expect(await sweep()).toMatchObject({ reclaimed: 0, silent: true });
    expect((await rowOf(task)).status).toBe('PROCESSING');
    await parts.beaten('late.1', 0);
    expect(await sweep()).toMatchObject({ silent: false });
  });

  it('gives back more tasks than one statement takes', async () => {
    await submit(25);
    await parts.start('dead.1');
    await parts.beaten('dead.1', 60_000);
    const sweeper = parts.newSweeper({ settings: TTL, limits: { batchRows: 10 } });
    expect(await sweeper.runOnce('reclaimer')).toMatchObject({ reclaimed: 25 });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 25, inflight: 0 });
  });

  it('loses tasks that it claimed and never started, which count no loss', async () => {
    const [task] = (await submit(1)) as [NewTask];
    await parts.claim('dead.1');
    await parts.beaten('dead.1', 60_000);
    expect(await sweep()).toMatchObject({ reclaimed: 0, reconciled: { claim: 1 } });
    expect(await rowOf(task)).toMatchObject({ status: 'PENDING', lost: 0 });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 1, inflight: 0 });
  });

  it("cannot settle any more, and cannot erase its successor's claim", async () => {
    const [task] = (await submit(1)) as [NewTask];
    await parts.start('zombie.1');
    await parts.beaten('zombie.1', 60_000);
    await sweep();
    await parts.start('live.1');
    const outcome = { verb: 'complete', result: null } as const;
    const zombie = await parts.store.settle('zombie.1', [{ id: task.id, attempt: 1, outcome, reason: null }]);
    expect(zombie).toMatchObject([{ verdict: 'stale' }]);
    const successor = await parts.store.settle('live.1', [{ id: task.id, attempt: 2, outcome, reason: null }]);
    expect(successor).toMatchObject([{ verdict: 'settled' }]);
    expect(await parts.queue.counts('default')).toMatchObject({ inflight: 1 });
  });

  it('that never beat has one time to live from the moment it is first seen', async () => {
    await submit(1);
    await parts.start('unknown.1');
    expect(await sweep()).toMatchObject({ reclaimed: 0 });
    await parts.redis.call((client) => client.zincrby(parts.keys.workers, -10_100, '@first unknown.1'));
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
  });
});

describe('the budget of losses', () => {
  it('sends the task to the dead letters with its whole history when the cap is reached', async () => {
    const [task] = (await submit(1)) as [NewTask];
    const [started] = await parts.start('w.1');
    const error = { name: 'Error', message: 'first failure' };
    await parts.store.settle('w.1', [
      { id: task.id, attempt: 1, outcome: { verb: 'retry', delayMs: 0, error, result: null }, reason: null },
    ]);
    expect(started?.verdict).toBe('started');
    await parts.queue.release('default', 'w.1', [{ position: positionOfTask(task), waitMs: 0 }]);
    for (const worker of ['dead.2', 'dead.3', 'dead.4']) {
      await parts.start(worker);
      await parts.beaten(worker, 60_000);
      await sweep({ LOST_CAP: 3 });
    }
    expect(await rowOf(task)).toEqual({ status: 'FAILED', attempt: 4, failures: 1, lost: 3, worker_id: null });
    const [letter] = await parts.sql<{ reason: string; attempt: number; errors: string }>(
      'SELECT reason, attempt, errors FROM dlq WHERE task_id = $1',
      [task.id],
    );
    expect(letter).toMatchObject({ reason: 'lost_cap', attempt: 4 });
    expect(JSON.parse(letter?.errors ?? '')).toMatchObject([
      { attempt: 1, outcome: 'RETRIED', error },
      { attempt: 2, outcome: 'LOST', worker_id: 'dead.2' },
      { attempt: 3, outcome: 'LOST', worker_id: 'dead.3' },
      { attempt: 4, outcome: 'LOST', worker_id: 'dead.4', error: { code: 'worker_lost' } },
    ]);
    expect(await parts.sql('SELECT tasks_reclaimed, tasks_buried FROM sweeper')).toEqual([
      { tasks_reclaimed: 3, tasks_buried: 1 },
    ]);
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 0, delayed: 0, inflight: 0 });
  });
});

describe('a cancel request', () => {
  it('is carried out by reclaim if the worker is dead', async () => {
    const [task] = (await submit(1)) as [NewTask];
    await parts.start('dead.1');
    await parts.sql('UPDATE unfinished SET cancel_requested_at = now() WHERE id = $1', [task.id]);
    await parts.beaten('dead.1', 60_000);
    expect(await sweep()).toMatchObject({ reclaimed: 0, cancelled: 1 });
    expect((await rowOf(task)).status).toBe('CANCELLED');
    expect(await logsOf(task)).toMatchObject([{ outcome: 'LOST' }]);
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 0, inflight: 0 });
  });
});

describe('verdicts', () => {
  it('count silence from the end of a gap without beats', async () => {
    await submit(1);
    await parts.start('w.1');
    await parts.beaten('w.1', 60_000);
    await parts.gapEnded(9_000);
    expect(await sweep()).toMatchObject({ reclaimed: 0 });
    await parts.gapEnded(10_100);
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
  });

  it('presume no worker dead after an outage of Redis or of all sweepers', async () => {
    await submit(1);
    await parts.start('w.1');
    // The last beat of any process was a minute ago.
    await parts.beaten('w.1', 60_000);
    await parts.beaten('@last', 60_000);
    expect(await sweep()).toMatchObject({ reclaimed: 0 });
    expect(await sweep()).toMatchObject({ reclaimed: 0 });
  });

  it('accept a new process of the same pod as evidence only after a missed beat', async () => {
    const pod = '0a1b2c3d-0000-4000-8000-000000000001';
    const [older, newer, other] = [`${pod}.aaaa`, `${pod}.bbbb`, `host.cccc`];
    await submit(3);
    for (const worker of [older, newer, other]) await parts.start(worker, 1);
    await parts.beaten(older, 3_500);
    await parts.beaten(newer, 100);
    await parts.beaten(other, 5_000);
    await parts.beaten('host.dddd', 0);
    expect(await sweep(), 'a neighbour in the same pod that beats is no successor').toMatchObject({ reclaimed: 0 });
    await parts.beaten(older, 5_000);
    expect(await sweep()).toMatchObject({ reclaimed: 1 });
    const left = await parts.sql<{ worker_id: string }>(
      `SELECT worker_id FROM tasks WHERE status = 'PROCESSING' ORDER BY 1`,
    );
    expect(left).toEqual([{ worker_id: newer }, { worker_id: other }]);
  });

  it('forget a worker that has been silent for an hour and holds nothing', async () => {
    await parts.beaten('gone.1', 3_600_100);
    await parts.beaten('late.1', 60_000);
    await parts.gapEnded(3_700_000);
    await sweep();
    expect((await parts.sweepQueue.silences([])).map(({ workerId }) => workerId)).toEqual(['late.1']);
  });

  it('do not forget a worker that has beaten since it was found silent', async () => {
    await parts.beaten('back.1', 3_600_100);
    const found = await parts.sweepQueue.silences([]);
    await parts.beaten('back.1', 0);
    await parts.sweepQueue.forget(found);
    expect((await parts.sweepQueue.silences([])).map(({ workerId }) => workerId)).toEqual(['back.1']);
  });
});

describe('an outage of Redis', () => {
  it.each([1_000, 3_900, 4_100, 5_900, 60_000])(
    'of %i ms leaves a worker three seconds to come back, even if its last beat was an interval before the others',
    async (awayMs) => {
      await parts.beaten('w.1', awayMs + TTL.HEARTBEAT_INTERVAL);
      const last = (await parts.sweepQueue.nowMs()) - awayMs;
      await parts.redis.call((client) => client.zadd(parts.keys.workers, last, '@last'));
      await parts.sweepQueue.beat(parts.config.HEARTBEAT_GAP);
      const [silence] = await parts.sweepQueue.silences(['w.1']);
      // The test itself takes some time.
      expect(silence?.silentMs).toBeLessThan(TTL.HEARTBEAT_TTL - 3_000 + 500);
    },
  );

  it('is no evidence against a worker, which then has one full time to live again', async () => {
    const server = await startRedis();
    const stores = await createTestStores({ redisUrl: server.url });
    parts = await openSweepParts(stores.env);
    await parts.queue.setSettings('default', { version: 1, paused: false });
    const [task] = (await submit(1)) as [NewTask];
    await parts.start('w.1');
    const sweeper = parts.newSweeper({ settings: { HEARTBEAT_TTL: 300, HEARTBEAT_INTERVAL: 100, HEARTBEAT_GAP: 200 } });
    await sweeper.runOnce('reclaimer');
    await server.stop();
    await expect(sweeper.runOnce('reclaimer')).rejects.toMatchObject({ code: 'redis_unavailable' });
    expect((await rowOf(task)).status).toBe('PROCESSING');
    await server.restart();
    // Redis has lost its data, so the silence of every worker starts again.
    await expect
      .poll(() => sweeper.runOnce('reclaimer').catch(() => null), { timeout: 10_000 })
      .toMatchObject({ reclaimed: 0, rebuilt: 1 });
    expect((await rowOf(task)).status).toBe('PROCESSING');
    await expect.poll(() => sweeper.runOnce('reclaimer'), { timeout: 10_000 }).toMatchObject({ reclaimed: 1 });
  });
});

describe('Redis at its memory limit', () => {
  it('does not prevent reclaiming the tasks of dead workers', async () => {
    const server = await startRedis();
    const stores = await createTestStores({ redisUrl: server.url });
    parts = await openSweepParts(stores.env);
    await sweep();
    await submit(3);
    await parts.start('dead.1', 2);
    await parts.claim('dead.1', 1);
    await parts.gapEnded(3_600_000);
    await parts.beaten('dead.1', 60_000);
    await parts.redis.call((client) => client.config('SET', 'maxmemory', '1'));
    await expect(
      parts.queue.enqueue('default', [{ position: positionOfTask(parts.newTask()), waitMs: 0 }]),
    ).rejects.toThrow('OOM');
    expect(await sweep()).toMatchObject({ reclaimed: 2, reconciled: { claim: 1 } });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 3, inflight: 0 });
  });
});
