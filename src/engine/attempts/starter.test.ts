import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { memberOf } from '../../core/priority.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { Returned } from '../order/task-queue.ts';
import type { StartResult } from './attempt-store.ts';
import { Attempt } from './attempt.ts';
import { createSlots } from './slots.ts';
import { createStarter, START_LANES } from './starter.ts';

const LOST_CAP = 3;
const log = pino({ level: 'silent' });
const { signal } = new AbortController();
const idOf = (n: number): string => fakeTask.id.slice(0, -1) + n;
const member = (n: number): string => memberOf({ id: idOf(n), priority: 2, placeMs: 1 });

/** A store whose starts wait until the test releases them; each task has the given number of losses. */
function bench(lost: (id: string) => number = () => 0) {
  const asked: { ids: readonly string[]; suspectAllowed: boolean; go: () => void }[] = [];
  const executed: string[] = [];
  const released: Returned[] = [];
  const slots = createSlots(100);
  const starter = createStarter({
    workerId: 'w',
    config: { LOST_CAP },
    slots,
    store: {
      start: (ids, _worker, _cap, suspectAllowed) =>
        new Promise<StartResult[]>((resolve) => {
          const results = ids.map((id): StartResult => ({
            verdict: 'started',
            task: { ...fakeTask, id, lost: lost(id) },
            waitedMs: 0,
          }));
          asked.push({ ids, suspectAllowed, go: () => resolve(results) });
        }),
    },
    queue: { release: async (_queue, _worker, returned) => void released.push(...returned) },
    execute(task) {
      executed.push(task.id);
      slots.add(new Attempt({ task, action: 'a', handler: () => 1, waitedMs: 0, startedAtMs: 0, log }));
    },
    release: () => {},
    metrics: createMetrics(),
    log,
  });
  return { asked, executed, released, slots, starter };
}

test('only one batch at a time may start a suspect, because two batches side by side would start two', async () => {
  const { asked, starter } = bench((id) => (id === idOf(1) ? LOST_CAP - 1 : 0));
  starter.begin('q', [member(0)], signal);
  starter.begin('q', [member(1)], signal);
  expect(asked.map(({ suspectAllowed }) => suspectAllowed)).toEqual([true, false]);
  for (const { go } of asked) go();
  await starter.untilIdle();
  starter.begin('q', [member(2)], signal);
  expect(asked.at(-1)?.suspectAllowed, 'a suspect runs').toBe(false);
});

test('the next batch may start a suspect when the batch before has ended without one', async () => {
  const { asked, starter } = bench();
  starter.begin('q', [member(0)], signal);
  asked[0]?.go();
  await starter.untilIdle();
  starter.begin('q', [member(1)], signal);
  expect(asked.map(({ suspectAllowed }) => suspectAllowed)).toEqual([true, true]);
});

test('at most START_LANES batches run at the same time, and the next may begin when one of them has ended', async () => {
  const { asked, starter, slots } = bench();
  for (let n = 0; n < START_LANES; n++) {
    await starter.untilLane();
    starter.begin('q', [member(n)], signal);
  }
  let free = false;
  const lane = starter.untilLane().finally(() => {
    free = true;
  });
  await Promise.resolve();
  expect([free, slots.free, slots.busy]).toEqual([false, 100 - START_LANES, 0]);
  asked[1]?.go();
  await lane;
  expect([slots.free, slots.busy]).toEqual([100 - START_LANES, 1]);
});

test('tasks that are claimed after the worker was told to stop are given back without a start', async () => {
  const { asked, starter, slots } = bench();
  starter.begin('q', [member(0)], AbortSignal.abort());
  await starter.untilIdle();
  expect([asked.length, slots.free]).toEqual([0, 100]);
});

test('a task that was claimed under two members is started once, and the member of its old place is dropped', async () => {
  const { asked, executed, released, starter, slots } = bench();
  const [now, before] = [fakeTask.placeMs, fakeTask.placeMs - 1].map((placeMs) => ({
    ...fakeTask,
    id: idOf(0),
    placeMs,
  }));
  starter.begin(
    'q',
    [before, now].map((position) => memberOf(position as typeof fakeTask)),
    signal,
  );
  asked[0]?.go();
  await starter.untilIdle();
  await starter.untilLane();
  expect([asked[0]?.ids, executed]).toEqual([[idOf(0)], [idOf(0)]]);
  expect(slots.free).toBe(99);
  expect(released).toEqual([{ position: { id: idOf(0), priority: 2, placeMs: before?.placeMs }, waitMs: null }]);
});
