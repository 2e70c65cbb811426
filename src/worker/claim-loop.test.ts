import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../test/fake-handler-context.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { memberOf } from '../core/priority.ts';
import type { StartedTask } from '../core/task.ts';
import type { Claim, Returned, TaskQueue } from '../queue/task-queue.ts';
import type { StartResult } from '../store/task-store.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createClaimLoop } from './claim-loop.ts';
import { createSlots } from './slots.ts';

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
  readonly order?: 'listed' | 'round-robin';
  readonly slots?: number;
  readonly room?: boolean;
}

function bench({ claims = {}, start = async () => [], order = 'listed', slots = 10, room = true }: Script) {
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
  const loop = createClaimLoop({
    workerId: 'w',
    config: { WORKER_QUEUES: ['a', 'b'], WORKER_QUEUE_ORDER: order, WORKER_CLAIM_BATCH: 4, LOST_CAP: 3 },
    store: { start },
    queue,
    waiter: { wait: async (ms) => void waits.push(ms), close: async () => {} },
    loadSettings: async (names) => names.map((name) => ({ name, version: 1, paused: false })),
    slots: createSlots(slots),
    settler: { waitForRoom: async () => room },
    execute: (task) => executed.push(task.id),
    release: (task) => releasedTasks.push(task.id),
    metrics: createMetrics(),
    log: pino({ level: 'silent' }),
    nowMs: () => 0,
  });
  return { loop, did, returned, executed, releasedTasks, waits };
}

const claimOf = (...indices: number[]): Claim => ({ state: 'open', members: indices.map(member), nextDueMs: null });

describe('one turn of the claim loop', () => {
  test('claims nothing while outcomes pile up that cannot be written', async () => {
    const { loop, did } = bench({ claims: { a: [claimOf(0)] }, room: false });
    expect(await loop.runOnce(signal)).toEqual({ claimed: 0 });
    expect(did).toEqual([]);
  });

  test('claims no more than the free slots and the batch, from the first queue first', async () => {
    const start = async (asked: readonly string[]) => asked.map((id) => started(ids.indexOf(id)));
    const { loop, did, executed, waits } = bench({ claims: { a: [claimOf(0)], b: [claimOf(1, 2)] }, start });
    expect(await loop.runOnce(signal)).toEqual({ claimed: 3 });
    expect(did).toEqual(['claim a 4', 'claim b 3']);
    expect(executed).toEqual(ids.slice(0, 3));
    expect(waits).toEqual([5_000]);
  });

  test('does not ask the second queue, nor wait, when the first one filled the slots', async () => {
    const { loop, did, waits } = bench({
      claims: { a: [claimOf(0, 1)] },
      slots: 2,
      start: async () => [started(0), started(1)],
    });
    await loop.runOnce(signal);
    expect([did, waits]).toEqual([['claim a 2'], []]);
  });

  test('begins with the next queue each time in turn', async () => {
    const { loop, did } = bench({ order: 'round-robin' });
    for (let i = 0; i < 3; i++) await loop.runOnce(signal);
    expect(did.map((line) => line.split(' ')[1])).toEqual(['a', 'b', 'b', 'a', 'a', 'b']);
  });

  test('waits until the next task of any queue is due', async () => {
    const { loop, waits } = bench({
      claims: {
        a: [{ state: 'open', members: [], nextDueMs: 900 }],
        b: [{ state: 'open', members: [], nextDueMs: 70 }],
      },
    });
    await loop.runOnce(signal);
    expect(waits).toEqual([70]);
  });

  test('loads the settings that Redis does not know before it claims', async () => {
    const { loop, did } = bench({ claims: { a: [{ state: 'unknown', members: [], nextDueMs: null }] } });
    await loop.runOnce(signal);
    expect(did).toEqual(['claim a 4', 'settings a', 'claim a 4', 'claim b 4']);
  });

  test('gives back what is not to start yet, and drops what is gone', async () => {
    const refused = (['early', 'locked', 'paused', 'solo', 'gone'] as const).map((verdict, i) => ({
      verdict,
      id: ids[i] as string,
      waitMs: verdict === 'early' ? 250 : 0,
    }));
    const { loop, returned, executed } = bench({ claims: { a: [claimOf(0, 1, 2, 3, 4)] }, start: async () => refused });
    await loop.runOnce(signal);
    expect(returned.map(({ waitMs }) => waitMs)).toEqual([250, 1_000, 1_000, 1_000, null]);
    expect(executed).toEqual([]);
  });

  test('drops an old member of a task that has moved since, and runs the task', async () => {
    const { loop, returned, executed } = bench({
      claims: { a: [claimOf(0)] },
      start: async () => [started(0, { priority: 1 })],
    });
    await loop.runOnce(signal);
    expect(executed).toEqual([ids[0]]);
    expect(returned).toEqual([{ position: position(0), waitMs: null }]);
  });

  test.each([
    ['at once when PostgreSQL is away', new StoreUnavailableError('postgresql', new Error('gone')), 0],
    ['after a while when the start failed otherwise', new Error('a bug'), 1_000],
  ])('gives everything back %s', async (_, failure, waitMs) => {
    let loop: ReturnType<typeof bench>['loop'] | undefined;
    const during: boolean[] = [];
    const made = bench({
      claims: { a: [claimOf(0, 1)] },
      start: async (asked) => {
        during.push(...asked.map((id) => loop?.isStarting(id) === true));
        throw failure;
      },
    });
    loop = made.loop;
    await expect(loop.runOnce(signal)).rejects.toBe(failure);
    expect(made.returned.map((entry) => entry.waitMs)).toEqual([waitMs, waitMs]);
    expect([during, loop.isStarting(ids[0] as string)]).toEqual([[true, true], false]);
  });

  test('hands tasks back that were started while it was told to stop', async () => {
    const stopping = new AbortController();
    const { loop, executed, releasedTasks } = bench({
      claims: { a: [claimOf(0)] },
      async start() {
        stopping.abort();
        return [started(0)];
      },
    });
    await loop.runOnce(stopping.signal);
    expect([executed, releasedTasks]).toEqual([[], [ids[0]]]);
  });
});
