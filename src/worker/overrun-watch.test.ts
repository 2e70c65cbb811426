import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../test/fake-handler-context.ts';
import { Attempt } from '../engine/attempts/attempt.ts';
import { createSlots } from '../engine/attempts/slots.ts';
import { createOverrunWatch, type SlotsOverrunError } from './overrun-watch.ts';

function bench(graceMs = 60_000) {
  const slots = createSlots(2);
  const lines: Record<string, unknown>[] = [];
  const ends: SlotsOverrunError[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  let nowMs = 0;
  const watch = createOverrunWatch({
    slots,
    graceMs,
    onAllOverrun: (error) => ends.push(error),
    log,
    nowMs: () => nowMs,
  });
  const runs = (attempt: number, timeoutMs: number): Attempt => {
    const task = { ...fakeTask, attempt, timeoutMs };
    const running = new Attempt({ task, action: 'deaf', handler: () => 1, waitedMs: 0, startedAtMs: nowMs, log });
    slots.add(running);
    return running;
  };
  /** Lets time pass with one look per second. Attempts are settled at their time limit. */
  const passTo = (untilMs: number): void => {
    for (; nowMs < untilMs; nowMs += 1_000) {
      for (const attempt of slots.all()) if (attempt.deadlineMs <= nowMs) attempt.settled = true;
      watch.look();
    }
  };
  return { slots, lines, ends, runs, passTo };
}

test('warns once of each handler that runs on after its time limit, but not while it cleans up', () => {
  const { lines, runs, passTo, slots } = bench();
  const quick = runs(1, 1_000);
  runs(2, 2_000);
  passTo(5_000);
  slots.remove(quick);
  expect(lines).toEqual([]);
  passTo(60_000);
  expect(lines).toMatchObject([
    { level: 40, task_id: fakeTask.id, attempt: 2, action: 'deaf', timeout_ms: 2_000, overrun_ms: 5_000 },
  ]);
});

test('ends the process when every slot has been overrun for the grace time, and names the tasks', () => {
  const { ends, runs, passTo } = bench();
  runs(1, 1_000);
  runs(2, 10_000);
  passTo(70_000);
  expect(ends).toEqual([]);
  passTo(80_000);
  expect(ends).toMatchObject([{ code: 'slots_overrun', exitCode: 3 }]);
  expect(ends[0]?.message).toContain(`for 60 s`);
  expect(ends[0]?.message).toContain(`${fakeTask.id} (action "deaf"), ${fakeTask.id} (action "deaf")`);
});

test('restarts the grace time when one of the handlers returns', () => {
  const { ends, runs, passTo, slots } = bench();
  const first = runs(1, 1_000);
  runs(2, 1_000);
  passTo(60_000);
  slots.remove(first);
  passTo(62_000);
  runs(3, 1_000);
  passTo(120_000);
  expect(ends).toEqual([]);
  passTo(130_000);
  expect(ends).toHaveLength(1);
});

test('never ends the process if the grace time is 0, or while a slot works', () => {
  const patient = bench(0);
  patient.runs(1, 1_000);
  patient.runs(2, 1_000);
  patient.passTo(1_000_000);
  expect(patient.ends).toEqual([]);
  const working = bench();
  working.runs(1, 1_000);
  working.runs(2, 10_000_000);
  working.passTo(1_000_000);
  expect(working.ends).toEqual([]);
});
