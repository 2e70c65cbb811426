import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../test/fake-handler-context.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { memberOf } from '../core/priority.ts';
import type { StartedTask } from '../core/task.ts';
import type { StartResult } from '../engine/attempts/attempt-store.ts';
import { createSlots } from '../engine/attempts/slots.ts';
import { createStarter } from '../engine/attempts/starter.ts';
import type { Claim, Returned, TaskQueue } from '../engine/order/task-queue.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createClaimLoop } from './claim-loop.ts';

const ids = [1, 2, 3, 4, 5].map((n) => fakeTask.id.slice(0, -1) + n);
const position = (i: number) => ({ id: ids[i] as string, priority: 2 as const, placeMs: 1_700_000_000_000 });
const member = (i: number): string => memberOf(position(i));
const started = (i: number, task: Partial<StartedTask> = {}): StartResult => ({
  verdict: 'started',
  task: { ...fakeTask, ...position(i), attempt: 1, ...task },
  waitedMs: 0,
});
const signal = new AbortController().signal;

interface Script {
  readonly claims?: Readonly<Record<string, Claim[]>>;
  readonly start?: (asked: readonly string[]) => Promise<StartResult[]>;
  readonly queues?: readonly string[];
  readonly order?: 'listed' | 'round-robin';
  readonly slots?: number;
  readonly room?: boolean;
}

function bench(script: Script) {
  const {
    claims = {},
    start = async () => [],
    queues = ['a', 'b'],
    order = 'listed',
    slots = 10,
    room = true,
  } = script;
  const did: string[] = [];
  const returned: Returned[] = [];
  const executed: string[] = [];
  const releasedTasks: string[] = [];
  const waits: number[] = [];
  const empty: Claim = { state: 'open', members: [], nextDueMs: null };
  const queue = {
    async claim(name: string, _worker: string, most: number) {
      did.push(`claim ${name} ${most}`);
      return claims[name]?.shift() ?? empty;
    },
    async release(_name: string, _worker: string, given: readonly Returned[]) {
      returned.push(...given);
    },
    async setSettings(name: string) {
      did.push(`settings ${name}`);
    },
  } as unknown as TaskQueue;
  const kept = createSlots(slots);
  const silent = pino({ level: 'silent' });
  const starter = createStarter({
    workerId: 'w',
    config: { LOST_CAP: 3 },
    store: { start },
    queue,
    slots: kept,
    execute(task) {
      executed.push(task.id);
    },
    release: (task) => releasedTasks.push(task.id),
    metrics: createMetrics(),
    log: silent,
  });
  const loop = createClaimLoop({
    workerId: 'w',
    config: { WORKER_QUEUES: [...queues], WORKER_QUEUE_ORDER: order, WORKER_CLAIM_BATCH: 4 },
    queue,
    waiter: {
      async wait(ms) {
        waits.push(ms);
        await setImmediate();
      },
      close: async () => {},
    },
    loadSettings: async (names) => names.map((name) => ({ name, version: 1, paused: false })),
    slots: kept,
    settler: { waitForRoom: async () => room },
    starter,
    log: silent,
    nowMs: () => 0,
  });
  /** Runs one turn, and waits for the starts that it began. */
  const turn = async (until = signal) => {
    const turned = await loop.runOnce(until);
    await starter.untilIdle();
    return turned;
  };
  return { loop, starter, turn, did, returned, executed, releasedTasks, waits };
}

const claimOf = (...indices: number[]): Claim => ({ state: 'open', members: indices.map(member), nextDueMs: null });

describe('one turn of the claim loop', () => {
  test('claims nothing while outcomes that cannot be written pile up', async () => {
    const { turn, did } = bench({ claims: { a: [claimOf(0)] }, room: false });
    expect(await turn()).toEqual({ claimed: 0 });
    expect(did).toEqual([]);
  });

  test('claims at most the free slots and the batch, beginning with the first queue', async () => {
    const start = async (asked: readonly string[]) => asked.map((id) => started(ids.indexOf(id)));
    const { turn, did, executed, waits } = bench({ claims: { a: [claimOf(0)], b: [claimOf(1, 2)] }, start });
    expect(await turn()).toEqual({ claimed: 3 });
    expect(did).toEqual(['claim a 4', 'claim b 3']);
    expect(executed).toEqual(ids.slice(0, 3));
    expect(waits).toEqual([5_000]);
  });

  test('neither asks the second queue nor waits when the first queue filled the slots', async () => {
    const { turn, did, waits } = bench({
      claims: { a: [claimOf(0, 1)] },
      slots: 2,
      start: async () => [started(0), started(1)],
    });
    await turn();
    expect([did, waits]).toEqual([['claim a 2'], []]);
  });

  /** Returns the queue that gave work in each turn, with one slot and endless work in the `busy` queues. */
  const givers = async (queues: readonly string[], busy: readonly string[], turns: number): Promise<string[]> => {
    const endless = Array.from({ length: turns }, (): Claim => ({
      state: 'open',
      members: [member(1)],
      nextDueMs: null,
    }));
    const claims = Object.fromEntries(busy.map((name) => [name, [...endless]]));
    const gave: string[] = [];
    const start = async (): Promise<StartResult[]> => [{ verdict: 'gone', id: ids[1] as string, waitMs: 0 }];
    const { turn, did } = bench({ queues, claims, start, order: 'round-robin', slots: 1 });
    for (let i = 0; i < turns; i++) {
      await turn();
      gave.push(did.at(-1)?.split(' ')[1] ?? '');
    }
    return gave;
  };

  test.each([
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
    [
      ['a', 'empty', 'empty', 'empty', 'b', 'empty'],
      ['a', 'b'],
    ],
    [
      ['empty', 'a', 'b', 'empty', 'c'],
      ['a', 'b', 'c'],
    ],
  ])('of %j gives %j equal shares, regardless of empty queues between them', async (queues, busy) => {
    const gave = await givers(queues, busy, 12);
    expect(gave).toEqual(Array.from({ length: 12 }, (_, i) => busy[i % busy.length]));
  });

  test('begins behind the queue that gave work last, and keeps that start while no queue has work', async () => {
    const full: Claim = { state: 'open', members: [member(1)], nextDueMs: null };
    const empty: Claim = { state: 'open', members: [], nextDueMs: null };
    const { turn, did } = bench({ order: 'round-robin', claims: { a: [empty, full] } });
    for (let i = 0; i < 3; i++) await turn();
    expect(did.map((line) => line.split(' ')[1])).toEqual(['a', 'b', 'a', 'b', 'b', 'a']);
  });

  test('waits until the next task of any queue is due', async () => {
    const { turn, waits } = bench({
      claims: {
        a: [{ state: 'open', members: [], nextDueMs: 900 }],
        b: [{ state: 'open', members: [], nextDueMs: 70 }],
      },
    });
    await turn();
    expect(waits).toEqual([70]);
  });

  test('loads settings that Redis does not know before it claims', async () => {
    const { turn, did } = bench({ claims: { a: [{ state: 'unknown', members: [], nextDueMs: null }] } });
    await turn();
    expect(did).toEqual(['claim a 4', 'settings a', 'claim a 4', 'claim b 4']);
  });

  test('gives back tasks that must not start yet, and drops tasks that are gone', async () => {
    const refused = (['early', 'locked', 'paused', 'solo', 'gone'] as const).map((verdict, i) => ({
      verdict,
      id: ids[i] as string,
      waitMs: verdict === 'early' ? 250 : 0,
    }));
    const { turn, returned, executed } = bench({ claims: { a: [claimOf(0, 1, 2, 3, 4)] }, start: async () => refused });
    await turn();
    expect(returned.map(({ waitMs }) => waitMs)).toEqual([250, 1_000, 1_000, 1_000, null]);
    expect(executed).toEqual([]);
  });

  test('drops the old member of a task that has moved, and runs the task', async () => {
    const { turn, returned, executed } = bench({
      claims: { a: [claimOf(0)] },
      start: async () => [started(0, { priority: 1 })],
    });
    await turn();
    expect(executed).toEqual([ids[0]]);
    expect(returned).toEqual([{ position: position(0), waitMs: null }]);
  });

  test.each([
    ['at once when PostgreSQL is away', new StoreUnavailableError('postgresql', new Error('gone')), 0],
    ['after a while when the start failed for another reason', new Error('a bug'), 1_000],
  ])('gives everything back %s, and the next turn fails', async (_, failure, waitMs) => {
    const { turn, starter, returned, did } = bench({
      claims: { a: [claimOf(0, 1)] },
      start: async () => {
        throw failure;
      },
    });
    await turn();
    expect(returned.map((entry) => entry.waitMs)).toEqual([waitMs, waitMs]);
    expect(starter.isStarting(ids[0] as string)).toBe(false);
    const before = did.length;
    await expect(turn()).rejects.toBe(failure);
    expect(did.length, 'claims after the failure').toBe(before);
    expect(await turn()).toEqual({ claimed: 0 });
  });

  test('hands back tasks that were started when it was told to stop', async () => {
    const stopping = new AbortController();
    const { turn, executed, releasedTasks } = bench({
      claims: { a: [claimOf(0)] },
      async start() {
        stopping.abort();
        return [started(0)];
      },
    });
    await turn(stopping.signal);
    expect([executed, releasedTasks]).toEqual([[], [ids[0]]]);
  });
});

describe('while starts are running', () => {
  /** Returns a `start` whose calls wait until the test ends them. */
  function gated() {
    const asked: { ids: readonly string[]; go: () => void; fail: (error: Error) => void }[] = [];
    const start = (given: readonly string[]): Promise<StartResult[]> =>
      new Promise((resolve, reject) => {
        asked.push({
          ids: given,
          go: () => resolve(given.map((id) => started(ids.indexOf(id)))),
          fail: reject,
        });
      });
    return { asked, start };
  }

  test('claims the next batch, but at most the slots that are neither busy nor reserved', async () => {
    const { asked, start } = gated();
    const { loop, starter, did, executed } = bench({
      claims: { a: [claimOf(0, 1), claimOf(2, 3), claimOf(4)] },
      slots: 5,
      start,
    });
    await loop.runOnce(signal);
    await loop.runOnce(signal);
    await loop.runOnce(AbortSignal.timeout(20));
    expect(did).toEqual(['claim a 4', 'claim b 2', 'claim a 3', 'claim b 1']);
    expect(asked.map((batch) => batch.ids)).toEqual([ids.slice(0, 2), ids.slice(2, 4)]);
    expect(starter.isStarting(ids[3] as string)).toBe(true);

    for (const { go } of asked) go();
    await starter.untilIdle();
    expect(executed).toEqual(ids.slice(0, 4));
    expect(starter.isStarting(ids[3] as string)).toBe(false);
  });

  test('a failed start gives back only its own batch', async () => {
    const { asked, start } = gated();
    const { loop, starter, returned, executed } = bench({
      claims: { a: [claimOf(0, 1), claimOf(2, 3)] },
      slots: 6,
      start,
    });
    await loop.runOnce(signal);
    await loop.runOnce(signal);
    const failure = new StoreUnavailableError('postgresql', new Error('gone'));
    asked[0]?.fail(failure);
    await expect.poll(() => returned.length).toBe(2);
    await expect(loop.runOnce(signal)).rejects.toBe(failure);
    asked[1]?.go();
    await starter.untilIdle();
    expect(executed).toEqual(ids.slice(2, 4));
    expect(returned.map(({ position: { id } }) => id)).toEqual(ids.slice(0, 2));
  });

  test('stop() waits for them, and hands back the tasks that they started', async () => {
    const { asked, start } = gated();
    const { loop, executed, releasedTasks } = bench({ claims: { a: [claimOf(0, 1)], b: [claimOf(2)] }, start });
    await loop.start();
    await expect.poll(() => asked.length).toBe(2);
    let ended = false;
    const stopped = loop.stop().finally(() => {
      ended = true;
    });
    asked[0]?.go();
    await expect.poll(() => releasedTasks.length).toBe(2);
    expect(ended).toBe(false);
    asked[1]?.go();
    await stopped;
    expect([executed, releasedTasks]).toEqual([[], ids.slice(0, 3)]);
  });
});
