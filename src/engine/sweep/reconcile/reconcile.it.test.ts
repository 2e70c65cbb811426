import { beforeEach, describe, expect, it } from 'vitest';
import { positionOfTask } from '../../../../test/harness/parts.ts';
import { startRedis } from '../../../../test/harness/private-stores.ts';
import { untilTrue } from '../../../../test/harness/processes.ts';
import { createTestStores } from '../../../../test/harness/stores.ts';
import { openSweepParts, type NewSweeper, type SweepTestParts } from '../../../../test/harness/sweeping.ts';
import type { SweepStore } from '../../../../test/harness/sweeping.ts';
import { endTasks } from '../../../../test/harness/task-rows.ts';
import { memberOf, type Position, type Priority } from '../../../core/priority.ts';
import type { NewTask } from '../../../core/task.ts';
import { createLogger } from '../../../telemetry/logger.ts';
import type { SweepResult } from '../sweep-result.ts';

let parts: SweepTestParts;

beforeEach(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
});

async function sweep(options: NewSweeper = {}): Promise<SweepResult> {
  const result = await parts.newSweeper(options).runOnce('reclaimer');
  expect(result).not.toBeNull();
  return result as SweepResult;
}

/** Sweeps until no duty is unfinished. */
async function sweepAll(options: NewSweeper = {}): Promise<SweepResult[]> {
  const results = [await sweep(options)];
  while (results.at(-1)?.more === true) results.push(await sweep(options));
  return results;
}

/** Commits tasks like an API process that dies before it enters them into Redis. */
async function commitOnly(tasks: readonly NewTask[]): Promise<void> {
  await parts.store.submit(tasks.map((task) => ({ task, idempotency: null })));
}

const newTasks = (count: number, changes: Partial<NewTask> = {}): NewTask[] =>
  Array.from({ length: count }, () => parts.newTask(changes));

function inOrder(tasks: readonly NewTask[]): string[] {
  return tasks
    .map(positionOfTask)
    .toSorted((a, b) => a.priority - b.priority || a.placeMs - b.placeMs || (a.id < b.id ? -1 : 1))
    .map(memberOf);
}

const membersOf = (key: string): Promise<string[]> => parts.redis.call((client) => client.zrange(key, '0', '-1'));

describe('the watermark', () => {
  beforeEach(async () => {
    // The first pass declares the empty queue whole and sets the watermark.
    await sweep();
  });

  it('enters once the tasks that were committed and never enqueued', async () => {
    const tasks = newTasks(3);
    await commitOnly(tasks);
    expect(await sweep()).toMatchObject({ reconciled: { watermark: 3, rebuild: 0 } });
    expect(await parts.claim('w.1')).toEqual(inOrder(tasks));
    expect(await sweep()).toMatchObject({ reconciled: { watermark: 0 } });
  });

  it('gives a task some time to reach Redis in the normal way', async () => {
    await commitOnly(newTasks(1));
    expect(await sweep({ limits: { lagMs: 60_000 } })).toMatchObject({ reconciled: { watermark: 0, scan: 0 } });
  });

  it('does not check a task before it is due', async () => {
    await commitOnly([parts.newTask({ runAtMs: parts.clock.nowMs() + 60_000 })]);
    expect(await sweep({ limits: { lagMs: 1 } })).toMatchObject({ reconciled: { watermark: 0 } });
  });

  it('goes on in the next pass if one was too short, and moves only at the end of the range', async () => {
    await parts.submit(newTasks(2));
    await commitOnly(newTasks(5));
    const small = { limits: { pageRows: 3, dutyMs: 0 } };
    const mark = () => parts.sql('SELECT watermark FROM sweeper');
    const before = await mark();
    const first = await sweep(small);
    expect(first).toMatchObject({ more: true });
    expect(await mark()).toEqual(before);
    const results = [first, ...(await sweepAll(small))];
    expect(results.reduce((sum, { reconciled }) => sum + reconciled.watermark + reconciled.scan, 0)).toBe(5);
    expect(await mark()).not.toEqual(before);
    expect((await parts.queue.counts('default')).ready).toBe(7);
  });

  it('ends a claim that blocks a waiting task', async () => {
    await parts.submit(newTasks(1));
    await parts.claim('w.1');
    expect(await sweep({ limits: { claimLostAfterMs: 60_000 } })).toMatchObject({ reconciled: { claim: 0 } });
    // The time window for claims is empty, so that only the watermark can end the claim.
    const { reconciled } = await sweep({ limits: { claimLostAfterMs: 0, claimLookUntilMs: -1 } });
    expect(reconciled).toMatchObject({ claim: 1, watermark: 0 });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 1, inflight: 0 });
  });
});

describe('claims that were never started', () => {
  beforeEach(async () => {
    await sweep();
  });

  it('are put back after some time, even if their worker is alive', async () => {
    const tasks = newTasks(3);
    await parts.submit(tasks);
    await parts.claim('live.1', 2);
    await parts.start('live.1', 1);
    await parts.beaten('live.1', 0);
    expect(await sweep()).toMatchObject({ reconciled: { claim: 0 } });
    await ageClaims(11_000);
    expect(await sweep()).toMatchObject({ reconciled: { claim: 2, stale: 0 } });
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 2, inflight: 1 });
    expect(await parts.claim('live.1')).toEqual(inOrder(tasks.slice(0, 2)));
  });

  it('are dropped when their task has ended, and kept while it runs', async () => {
    const [ended] = newTasks(1) as [NewTask];
    await parts.submit([ended, parts.newTask()]);
    await parts.start('w.1');
    const outcome = { verb: 'complete', result: null } as const;
    await parts.store.settle('w.1', [{ id: ended.id, attempt: 1, outcome, reason: null }]);
    await parts.beaten('w.1', 0);
    await ageClaims(11_000);
    const sweeper = parts.newSweeper();
    expect(await sweeper.runOnce('worker')).toMatchObject({ reconciled: { claim: 0, stale: 1 } });
    expect(await sweeper.runOnce('worker')).toMatchObject({ reconciled: { claim: 0, stale: 0 } });
    expect(await parts.queue.counts('default')).toMatchObject({ inflight: 1 });
  });
});

describe('a claim under a wrong name', () => {
  it('is corrected, so that the dead worker that it names holds nothing', async () => {
    await sweep();
    const task = parts.newTask();
    await parts.submit([task]);
    await parts.start('live.1');
    await parts.beaten('live.1', 0);
    // Another worker claimed a duplicate of the member. Its start was refused, and then it died.
    const { inflight } = parts.keys.queue('default');
    const member = memberOf(positionOfTask(task));
    await parts.redis.call((client) => client.hset(inflight, member, 'dead.1 1'));
    await parts.beaten('dead.1', 60_000);
    await parts.gapEnded(60_000);
    const sweeper = parts.newSweeper();
    await sweeper.runOnce('worker');
    expect(await parts.redis.call((client) => client.hget(inflight, member))).toMatch(/^live\.1 \d+$/);
    expect(await sweeper.runOnce('worker')).toMatchObject({ silent: false });
    expect((await parts.sweepQueue.silences([])).map(({ workerId }) => workerId)).toEqual(['live.1']);
  });
});

/** Makes all claims look `ms` milliseconds older. */
async function ageClaims(ms: number): Promise<void> {
  const { inflight } = parts.keys.queue('default');
  const claims = await parts.redis.call((client) => client.hgetall(inflight));
  for (const [member, value] of Object.entries(claims)) {
    const [worker, at] = value.split(' ') as [string, string];
    await parts.redis.call((client) => client.hset(inflight, member, `${worker} ${Number(at) - ms}`));
  }
}

describe('the rolling scan', () => {
  // Neither a rebuild nor the watermark takes part: the queue is whole, and the watermark is far ahead.
  beforeEach(async () => {
    await sweep();
    await parts.sql(`UPDATE sweeper SET watermark = now() + interval '1 day'`);
  });

  it('enters missing tasks: waiting, delayed and running', async () => {
    const waiting = newTasks(2);
    const delayed = parts.newTask({ runAtMs: parts.clock.nowMs() + 60_000 });
    const [running] = newTasks(1) as [NewTask];
    await parts.submit([running]);
    await parts.start('w.1');
    await parts.beaten('w.1', 0);
    await commitOnly([...waiting, delayed]);
    const { ready, delayed: later, inflight } = parts.keys.queue('default');
    await parts.redis.call((client) => client.del(inflight));
    // The scan skips ids of the current millisecond of PostgreSQL's clock. Wait by that clock, because ours differs a
    // bit.
    const youngestMs = Math.max(...[...waiting, delayed].map((task) => positionOfTask(task).placeMs));
    await untilTrue(async () => {
      const [row] = await parts.sql<{ old: boolean }>(
        'SELECT extract(epoch FROM clock_timestamp()) * 1000 > $1::float8 + 1 AS old',
        [youngestMs],
      );
      return row?.old;
    });

    expect(await sweep()).toMatchObject({ reconciled: { scan: 4, watermark: 0, rebuild: 0 } });
    expect(await membersOf(ready)).toEqual(inOrder(waiting));
    expect(await membersOf(later)).toEqual(inOrder([delayed]));
    const value = await parts.redis.call((client) => client.hget(inflight, memberOf(positionOfTask(running))));
    expect(value).toMatch(/^w\.1 \d+$/);
    expect(await sweep()).toMatchObject({ reconciled: { scan: 0, stale: 0, claim: 0 } });
  });

  it('removes useless members: ended, unknown, moved, of another queue, unreadable', async () => {
    const [live, ended, moved] = newTasks(3) as [NewTask, NewTask, NewTask];
    await parts.submit([live, ended, moved]);
    await parts.sql(endTasks('CANCELLED', 'id = $1'), [ended.id]);
    await parts.sql(`UPDATE unfinished SET place_ms = place_ms + 5 WHERE id = $1`, [moved.id]);
    const unknown = positionOfTask(parts.newTask());
    const { delayed } = parts.keys.queue('default');
    await parts.queue.enqueue('default', [{ position: unknown, waitMs: 60_000 }]);
    await parts.redis.call((client) => client.zadd(delayed, 1, 'unreadable'));
    await parts.store.submitAll([], { names: ['other'], most: 10 });
    await parts.queue.enqueue('other', [{ position: positionOfTask(live), waitMs: 0 }]);

    const { ready } = parts.keys.queue('default');
    const movedTo: Position = { ...positionOfTask(moved), placeMs: positionOfTask(moved).placeMs + 5 };
    // A row as young as this one may still be on its way to Redis, so the scan enters it a little later.
    let stale = 0;
    await untilTrue(async () => {
      stale += (await sweep()).reconciled.stale;
      return stale >= 5 && (await membersOf(ready)).includes(memberOf(movedTo));
    });
    expect(stale).toBe(5);
    expect(await membersOf(ready)).toEqual([memberOf(positionOfTask(live)), memberOf(movedTo)]);
    expect(await membersOf(delayed)).toEqual([]);
    expect(await membersOf(parts.keys.queue('other').ready)).toEqual([]);
  });

  it('puts back claims that are too old for the look-up in every pass', async () => {
    await parts.submit(newTasks(1));
    await parts.claim('w.1');
    await parts.beaten('w.1', 0);
    await ageClaims(3_600_000);
    const results = [await sweep(), await sweep()];
    expect(results.reduce((sum, { reconciled }) => sum + reconciled.claim, 0)).toBe(1);
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 1, inflight: 0 });
  });

  it('completes a round in slices', async () => {
    const tasks = newTasks(700);
    await parts.submit(tasks);
    const { ready } = parts.keys.queue('default');
    const lost = tasks.filter((_, i) => i % 7 === 0);
    await parts.redis.call((client) => client.zrem(ready, ...lost.map((task) => memberOf(positionOfTask(task)))));
    const stale = Array.from({ length: 100 }, () => positionOfTask(parts.newTask()));
    await parts.queue.enqueue(
      'default',
      stale.map((position) => ({ position, waitMs: 0 })),
    );
    const total = { scan: 0, stale: 0 };
    for (let i = 0; i < 12; i++) {
      const { reconciled } = await sweep();
      expect(reconciled.scan).toBeLessThanOrEqual(200);
      total.scan += reconciled.scan;
      total.stale += reconciled.stale;
    }
    expect(total).toEqual({ scan: 100, stale: 100 });
    expect(await membersOf(ready)).toEqual(inOrder(tasks));
  });
});

describe('the rebuild', () => {
  beforeEach(async () => {
    const server = await startRedis();
    const stores = await createTestStores({ redisUrl: server.url });
    parts = await openSweepParts(stores.env);
    await sweep();
  });

  const flush = () => parts.redis.call((client) => client.flushall());

  it('restores the whole order exactly: priorities, places, delays and running tasks', async () => {
    const priorities: Priority[] = [3, 1, 2];
    const tasks = Array.from({ length: 300 }, (_, i) => parts.newTask({ priority: priorities[i % 3] as Priority }));
    const later = newTasks(5, { runAtMs: parts.clock.nowMs() + 60_000 });
    await parts.submit([...tasks, ...later]);
    const running = await parts.claim('w.1', 10);
    await parts.store.start(
      running.map((member) => member.slice(2)),
      'w.1',
      3,
      true,
    );
    await parts.beaten('w.1', 0);
    // This task was requeued to the back, so its member carries its place.
    await parts.sql('UPDATE unfinished SET place_ms = $2 WHERE id = $1', [
      tasks[0]?.id,
      Math.floor(parts.clock.nowMs()) + 1_000,
    ]);
    const order = await parts.sql<{ id: string; priority: Priority; place_ms: number }>(
      `SELECT id, priority, place_ms FROM tasks WHERE status = 'PENDING' ORDER BY priority, place_ms, id`,
    );

    await flush();
    const results = await sweepAll({ limits: { pageRows: 37, rebuildRows: 37, dutyMs: 0 } });
    expect(results.length).toBeGreaterThan(5);
    expect(results.reduce((sum, { rebuilt }) => sum + rebuilt, 0)).toBe(1);
    const { ready, delayed, inflight } = parts.keys.queue('default');
    expect(await membersOf(ready)).toEqual(
      order.map((row) => memberOf({ id: row.id, priority: row.priority, placeMs: row.place_ms })),
    );
    expect((await membersOf(delayed)).toSorted()).toEqual(inOrder(later).toSorted());
    expect((await parts.redis.call((client) => client.hkeys(inflight))).toSorted()).toEqual([...running].toSorted());
    const { rebuilt: again, reconciled } = await sweep();
    expect({ rebuilt: again, ...reconciled }).toEqual({
      rebuilt: 0,
      watermark: 0,
      scan: 0,
      rebuild: 0,
      claim: 0,
      stale: 0,
    });
  });

  it('lets workers claim before it has ended', async () => {
    const tasks = newTasks(60);
    await commitOnly(tasks);
    await flush();
    const small = { limits: { rebuildRows: 10, dutyMs: 0 } };
    await sweep(small);
    await sweep(small);
    expect(await parts.claim('w.1', 5)).toEqual(inOrder(tasks).slice(0, 5));
    await sweepAll(small);
    expect(await parts.queue.counts('default')).toMatchObject({ ready: 55, inflight: 5 });
  });

  it('warns with the number of tasks, over all passes, and is silent about a new queue', async () => {
    const lines: Record<string, unknown>[] = [];
    const log = createLogger('info', {}, { write: (line) => lines.push(JSON.parse(line)) });
    const whole = (): unknown[] =>
      lines.filter(({ msg }) => msg === 'queues in Redis are whole').map(({ level, tasks }) => [level, tasks]);
    await parts.store.submitAll([], { names: ['new'], most: 10 });
    await sweepAll({ log });
    expect(whole()).toEqual([['info', 0]]);
    await parts.submit(newTasks(25));
    await sweep();
    await flush();
    // The rolling scan enters a few of them meanwhile.
    const results = await sweepAll({ log, limits: { pageRows: 2, rebuildRows: 10, dutyMs: 0 } });
    const entered = results.map(({ reconciled }) => reconciled.rebuild).filter((count) => count > 0);
    expect(entered.length).toBeGreaterThan(1);
    expect(whole()).toEqual([
      ['info', 0],
      ['warn', entered.reduce((sum, count) => sum + count, 0)],
    ]);
  });

  it('keeps a paused queue paused', async () => {
    await parts.submit(newTasks(1));
    await parts.sql(`UPDATE queues SET paused = true, version = version + 1 WHERE name = 'default'`);
    await flush();
    expect((await parts.queue.claim('default', 'w.1', 1)).state).toBe('unknown');
    await sweep();
    expect(await parts.queue.claim('default', 'w.1', 1)).toMatchObject({ state: 'paused', members: [] });
  });

  it('starts again if Redis loses its data during the rebuild', async () => {
    const tasks = newTasks(50);
    await commitOnly(tasks);
    await flush();
    const small = { limits: { rebuildRows: 10, dutyMs: 0 } };
    for (let i = 0; i < 3; i++) await sweep(small);
    await flush();
    await sweepAll(small);
    expect(await membersOf(parts.keys.queue('default').ready)).toEqual(inOrder(tasks));
    expect((await parts.sweepQueue.look('default')).state).toBe('whole');
  });

  it('does not declare a queue whole if another rebuild has begun', async () => {
    await parts.sweepQueue.beginRebuild('default', 'mine');
    await parts.sweepQueue.beginRebuild('default', 'yours');
    expect(await parts.sweepQueue.endRebuild('default', 'mine')).toBe(false);
    expect(await parts.sweepQueue.look('default')).toMatchObject({ state: 'rebuilding', nonce: 'yours' });
  });

  it('fills all lost queues in one walk', async () => {
    await parts.store.submitAll([], { names: ['a', 'b', 'c'], most: 10 });
    const tasks = ['a', 'b', 'c'].flatMap((queue) => newTasks(4, { queue }));
    await commitOnly(tasks);
    await flush();
    expect(await sweep()).toMatchObject({ rebuilt: 4, reconciled: { rebuild: 12 } });
    for (const queue of ['a', 'b', 'c']) {
      expect(await membersOf(parts.keys.queue(queue).ready)).toEqual(
        inOrder(tasks.filter((task) => task.queue === queue)),
      );
    }
  });
});

describe('settings of a change that PostgreSQL has lost', () => {
  const pausedInRedis = (): Promise<void> => parts.queue.setSettings('default', { version: 5, paused: true });
  const stateOfClaim = async () => (await parts.queue.claim('default', 'w.1', 1)).state;

  it('are overwritten by the row, so that an unpaused queue does not stand still', async () => {
    await pausedInRedis();
    await sweep();
    expect(await stateOfClaim()).toBe('open');
    // A later change counts again, even if its version is smaller.
    await parts.sql(`UPDATE queues SET paused = true, version = 2 WHERE name = 'default'`);
    await sweep();
    expect(await stateOfClaim()).toBe('paused');
  });

  it('are kept if the row was changed while the pass looked', async () => {
    const store: SweepStore = {
      ...parts.sweepStore,
      async queues() {
        const rows = await parts.sweepStore.queues();
        await parts.sql(`UPDATE queues SET paused = true, version = 5 WHERE name = 'default'`);
        await pausedInRedis();
        return rows;
      },
    };
    await sweep({ store });
    expect(await stateOfClaim()).toBe('paused');
  });
});

describe('a restart from an old snapshot', () => {
  it('is recognized and repaired: newer tasks are entered, and tasks that have ended are removed', async () => {
    const server = await startRedis();
    const stores = await createTestStores({ redisUrl: server.url });
    parts = await openSweepParts(stores.env);
    await sweep();
    const old = newTasks(4);
    await parts.submit(old);
    await parts.redis.call((client) => client.save());
    const since = newTasks(3);
    await parts.submit(since);
    const started = await parts.start('w.1', 2);
    const settlements = started.flatMap((result) =>
      result.verdict === 'started'
        ? [{ id: result.task.id, attempt: 1, outcome: { verb: 'complete', result: null } as const, reason: null }]
        : [],
    );
    await parts.store.settle('w.1', settlements);
    await server.kill();
    await server.restart();
    await untilTrue(async () => (await sweepAll()).some(({ rebuilt }) => rebuilt > 0));

    const { ready } = parts.keys.queue('default');
    // Members that the scan has not removed yet are still in their old place.
    const waiting = inOrder([...old.slice(2), ...since]);
    expect((await membersOf(ready)).filter((member) => waiting.includes(member))).toEqual(waiting);
    await sweep();
    expect(await membersOf(ready)).toEqual(waiting);
  });
});
