import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { startMeter } from '../meter.ts';
import { nowUs } from '../note.ts';
import { residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { median, quantile } from '../statistics.ts';
import { verify } from './drain.ts';
import { untilFinished } from './until-finished.ts';

const SHARE = 0.7;
const BATCH = 100;

/** Submits and executes tasks at the same time, at a fixed rate, for a long time. */
export function sustained({ quick, seconds }: Size): Scenario {
  const probe = quick ? 5_000 : 50_000;
  // The first minute of a long run.
  const window = Math.min(60, seconds / 4);
  return {
    name: 'sustained',
    title: `Submitted and executed for ${seconds} s at ${SHARE * 100} % of the rate at which ${probe / 1_000}k were, in batches of ${BATCH}`,
    goal: `no backlog; p99 of the last ${window} s ≤ 1.2 × that of the first; API and worker grow by < 5 MB after the first`,
    unit: 'tasks left behind at the end',
    more: false,
    once: true,
    entrants: [entrantOf(scheduler(), (arena) => measureSustained(arena, probe, { seconds, window }))],
  };
}

/** Seconds of the run, and of the first and the last part of it. */
interface Span {
  readonly seconds: number;
  readonly window: number;
}

async function measureSustained(arena: Arena, probe: number, span: Span): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    const rate = SHARE * (await capacity(contender, arena, probe));
    const tasks = Math.floor((rate * span.seconds) / BATCH) * BATCH;
    arena.tally.reset(tasks);
    const meter = await startMeter(arena, { API: [contender.api.pid], worker: workers.pids });
    const memory = sampleMemory({ API: contender.api.pid, worker: workers.pids[0] as number }, span);
    const sentUs = await submitAtRate(contender, rate, tasks).finally(memory.stop);
    const left = tasks - arena.tally.total;
    await arena.tally.reached(tasks);
    await untilFinished(contender);
    const costs = await meter.read(tasks);
    await workers.stop();
    await verify(contender, arena, tasks + probe);

    const p99Ms = (fromSecond: number): number => {
      const from = Math.floor(fromSecond * rate);
      const to = Math.min(tasks, Math.floor((fromSecond + span.window) * rate));
      const starts = arena.tally.startsUs.subarray(from, to);
      const waitsMs = starts.map((us, i) => (us - (sentUs[Math.floor((from + i) / BATCH)] as number)) / 1_000);
      return quantile(waitsMs, 0.99);
    };
    return {
      value: left,
      details: {
        'tasks/s': tasks / span.seconds,
        [`p99 ms to the handler, first ${span.window} s`]: p99Ms(0),
        [`last ${span.window} s`]: p99Ms(span.seconds - span.window),
        ...memory.grownMb(),
        ...costs,
      },
    };
  } finally {
    await contender.close();
  }
}

/** Submits batches at a fixed rate, however slow the answers are. @returns when each batch was sent, on the clock of `nowUs` */
async function submitAtRate(contender: SchedulerContender, rate: number, tasks: number): Promise<number[]> {
  const sentUs: number[] = [];
  const startMs = performance.now();
  const underWay = new Set<Promise<void>>();
  const failures: unknown[] = [];
  for (let from = 0; from < tasks; from += BATCH) {
    const dueMs = startMs + (from * 1_000) / rate;
    if (dueMs > performance.now()) await delay(dueMs - performance.now());
    sentUs.push(nowUs());
    const sent = contender
      .submitMany({ from, count: BATCH, sleepMs: 0, batch: BATCH, lanes: 1 })
      .catch((error: unknown) => failures.push(error))
      .then(() => void underWay.delete(sent));
    underWay.add(sent);
  }
  await Promise.all(underWay);
  if (failures.length > 0) throw failures[0];
  return sentUs;
}

/**
 * Samples the resident memory of processes every second. What has grown is the median of the last part against that of
 * the part after the first one: a single sample depends on when garbage was collected last.
 */
function sampleMemory(pids: Readonly<Record<string, number>>, { seconds, window }: Span) {
  const names = Object.keys(pids);
  const samples: { readonly second: number; readonly mb: readonly number[] }[] = [];
  const startMs = performance.now();
  const timer = setInterval(() => {
    const second = (performance.now() - startMs) / 1_000;
    samples.push({ second, mb: names.map((name) => residentMb(pids[name] as number)) });
  }, 1_000);
  const medianFrom = (from: number, i: number): number =>
    median(
      samples.filter(({ second }) => second >= from && second < from + window).map(({ mb }) => mb[i] ?? Number.NaN),
    );
  return {
    stop: () => clearInterval(timer),
    grownMb: (): Record<string, number> =>
      Object.fromEntries(
        names.map((name, i) => [`${name} grew by MB`, medianFrom(seconds - window, i) - medianFrom(window, i)]),
      ),
  };
}

/** Measures the tasks per second when submitting and executing run at the same time, as fast as they can. */
async function capacity(contender: SchedulerContender, arena: Arena, tasks: number): Promise<number> {
  arena.tally.reset(tasks);
  const startMs = performance.now();
  await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: BATCH, lanes: 4 });
  await arena.tally.reached(tasks);
  return (tasks * 1_000) / (performance.now() - startMs);
}
