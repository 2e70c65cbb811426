import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { payloadOf, scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { saturate } from '../load.ts';
import { residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { verify } from './drain.ts';
import { untilFinished } from './until-finished.ts';

/** Measures resident memory of the API and the worker, at rest and after load. */
export function memory({ quick }: Size): Scenario {
  const tasks = quick ? 5_000 : 100_000;
  const kind = scheduler();
  return {
    name: 'memory',
    title: 'Resident memory at rest, a few seconds after the start',
    goal: '≤ 160 MB each',
    unit: 'MB',
    more: false,
    once: true,
    entrants: [
      entrantOf({ ...kind, name: 'API' }, (arena) =>
        within(arena, (contender) => measureApi(contender, quick ? 1 : 10)),
      ),
      entrantOf({ ...kind, name: 'worker' }, (arena) =>
        within(arena, (contender) => measureWorker(contender, arena, tasks)),
      ),
    ],
  };
}

const REST_MS = 3_000;

async function within(
  arena: Arena,
  measure: (contender: SchedulerContender) => Promise<Measurement>,
): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    return await measure(contender);
  } finally {
    await contender.close();
  }
}

async function measureApi({ api, baseUrl }: SchedulerContender, seconds: number): Promise<Measurement> {
  await delay(REST_MS);
  const rest = residentMb(api.pid);
  const body = (n: number): string => JSON.stringify({ payload: payloadOf(n, 0) });
  await saturate({ url: baseUrl, path: '/tasks', connections: 64, body }, seconds);
  return { value: rest, details: { 'MB after load': residentMb(api.pid) } };
}

async function measureWorker(contender: SchedulerContender, arena: Arena, tasks: number): Promise<Measurement> {
  const workers = await contender.startWorkers({ processes: 1, slots: null });
  const [pid] = workers.pids as [number];
  await delay(REST_MS);
  const rest = residentMb(pid);
  arena.tally.reset(tasks);
  await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: 1_000, lanes: 4 });
  await arena.tally.reached(tasks);
  await untilFinished(contender);
  const loaded = residentMb(pid);
  await workers.stop();
  await verify(contender, arena, tasks);
  return { value: rest, details: { 'MB after load': loaded } };
}
