import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { Attempt } from './attempt.ts';
import { createSlots } from './slots.ts';

let made = 0;

function attempt({ startedAtMs = 0, timeoutMs = 1_000, lost = 0 } = {}): Attempt {
  const task = { ...fakeTask, attempt: ++made, timeoutMs, lost };
  return new Attempt({
    task,
    action: 'a',
    handler: () => 1,
    waitedMs: 0,
    startedAtMs,
    log: pino({ level: 'silent' }),
  });
}

const never = new AbortController().signal;

describe('slots', () => {
  test('count running attempts, and report every change', () => {
    const seen: number[] = [];
    const slots = createSlots(2, ({ busy }) => seen.push(busy));
    const [one, two] = [attempt(), attempt()];
    slots.add(one);
    slots.add(two);
    expect([slots.busy, slots.free]).toEqual([2, 0]);
    one.settled = true;
    expect(slots.free, 'settled, but its handler still runs').toBe(0);
    slots.remove(one);
    slots.remove(one);
    expect([slots.busy, slots.free, slots.all()]).toEqual([1, 1, [two]]);
    expect(seen).toEqual([1, 2, 1]);
  });

  test('two attempts of one task take a slot each', () => {
    const slots = createSlots(2);
    slots.add(attempt());
    slots.add(attempt());
    expect(slots.all().map(({ task }) => task.id)).toEqual([fakeTask.id, fakeTask.id]);
  });

  test('waiting for a free slot ends when a handler returns, when the time is over, or with the signal', async () => {
    const slots = createSlots(1);
    expect(await slots.waitForFree(60_000, never)).toBe(1);
    const one = attempt();
    slots.add(one);
    expect(await slots.waitForFree(1, never)).toBe(0);

    const stopping = new AbortController();
    const aborted = slots.waitForFree(60_000, stopping.signal);
    stopping.abort();
    expect(await aborted).toBe(0);

    const freed = slots.waitForFree(60_000, never);
    slots.remove(one);
    expect(await freed).toBe(1);
  });

  test('waiting until all attempts are settled does not wait for handlers that overran their limit', async () => {
    const slots = createSlots(2);
    const [late, busy] = [attempt(), attempt()];
    slots.add(late);
    slots.add(busy);
    late.settled = true;
    expect(await slots.waitForSettled(1)).toBe(false);
    const settled = slots.waitForSettled(60_000);
    slots.remove(busy);
    expect(await settled).toBe(true);
  });

  test('know the unsettled attempt with the earliest deadline', () => {
    const slots = createSlots(5);
    const [first, second, third] = [
      attempt({ timeoutMs: 100 }),
      attempt({ timeoutMs: 300 }),
      attempt({ timeoutMs: 200 }),
    ];
    expect(slots.earliest()?.deadlineMs ?? null).toBeNull();
    for (const one of [second, first, third]) slots.add(one);
    expect(slots.earliest()?.deadlineMs ?? null).toBe(100);
    first.settled = true;
    expect(slots.earliest()?.deadlineMs ?? null).toBe(200);
    slots.remove(third);
    expect(slots.earliest()?.deadlineMs ?? null).toBe(300);
    slots.add(attempt({ timeoutMs: 50 }));
    expect(slots.earliest()?.deadlineMs ?? null).toBe(50);
  });

  test('are not free while they are reserved', () => {
    const slots = createSlots(5);
    const end = slots.reserve(3);
    expect([slots.free, slots.busy]).toEqual([2, 0]);
    end();
    end();
    expect(slots.free).toBe(5);
  });

  test('a few free slots are not worth another start while some are reserved', async () => {
    const slots = createSlots(5);
    const end = slots.reserve(3);
    expect(await slots.waitForFree(1, never, 3)).toBe(0);
    expect(await slots.waitForFree(60_000, never, 2)).toBe(2);
    const freed = slots.waitForFree(60_000, never, 4);
    end();
    expect(await freed).toBe(5);
    slots.add(attempt());
    slots.add(attempt());
    expect(await slots.waitForFree(60_000, never, 4), 'nothing is reserved').toBe(3);
  });

  test('recognize a suspect, which is one loss short of the cap', () => {
    const slots = createSlots(5);
    slots.add(attempt({ lost: 1 }));
    expect([slots.hasSuspect(3), slots.hasSuspect(2)]).toEqual([false, true]);
  });
});
