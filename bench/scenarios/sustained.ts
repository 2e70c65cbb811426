import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { nowUs } from '../note.ts';
import { residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { verify } from './drain.ts';

const SHARE = 0.7;
const BATCH = 100;

/** Submits and executes tasks at the same time, at a fixed rate, for a long time. */
export function sustained({ quick, seconds }: Size): Scenario {
  const probe = quick ? 5_000 : 50_000;
  return {
    name: 'sustained',
    title: `Submitted and executed for ${seconds} s at ${SHARE * 100} % of the rate at which ${probe / 1_000}k were, in batches of ${BATCH}`,
    goal: 'no backlog; p99 of the last quarter ≤ 1.2 × the first; memory grows by < 5 MB',
    unit: 'tasks left behind at the end',
    more: false,
    entrants: [entrantOf(scheduler(), (arena) => measureSustained(arena, probe, seconds))],
  };
}

async function measureSustained(arena: Arena, probe: number, seconds: number): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    const rate = SHARE * (await capacity(contender, arena, probe));
    const batches = Math.floor((rate * seconds) / BATCH);
    const tasks = batches * BATCH;
    arena.tally.reset(tasks);
    const processes = { api: contender.api.pid, worker: workers.pids[0] as number };

    const sentUs: number[] = [];
    const startMs = performance.now();
    const underWay = new Set<Promise<void>>();
    const failures: unknown[] = [];
    let settledMb: Record<keyof typeof processes, number> | undefined;
    for (let i = 0; i < batches; i++) {
      const dueMs = startMs + (i * BATCH * 1_000) / rate;
      if (dueMs > performance.now()) await delay(dueMs - performance.now());
      sentUs.push(nowUs());
      const sent = contender
        .submitMany({ from: i * BATCH, count: BATCH, sleepMs: 0, batch: BATCH, lanes: 1 })
        .catch((error: unknown) => failures.push(error))
        .then(() => void underWay.delete(sent));
      underWay.add(sent);
      if (i === Math.floor(batches / 4)) settledMb = residents(processes);
    }
    await Promise.all(underWay);
    if (failures.length > 0) throw failures[0];
    const left = tasks - arena.tally.total;
    const grown = residents(processes);
    await arena.tally.reached(tasks);
    while ((await contender.unfinished()) > 0) await delay(10);
    await workers.stop();
    await verify(contender, arena, tasks + probe);

    const waitsMs = Array.from(
      arena.tally.startsUs,
      (us, n) => (us - (sentUs[Math.floor(n / BATCH)] as number)) / 1_000,
    );
    const quarter = (from: number): number =>
      quantile(waitsMs.slice(Math.floor(tasks * from), Math.floor(tasks * (from + 0.25))), 0.99);
    return {
      value: left,
      details: {
        'tasks/s': tasks / seconds,
        'p99 ms to the handler, first quarter': quarter(0),
        'last quarter': quarter(0.75),
        'API grew by MB': grown.api - (settledMb?.api ?? Number.NaN),
        'worker grew by MB': grown.worker - (settledMb?.worker ?? Number.NaN),
      },
    };
  } finally {
    await contender.close();
  }
}

/** Measures the tasks per second when submitting and executing run at the same time, as fast as they can. */
async function capacity(contender: SchedulerContender, arena: Arena, tasks: number): Promise<number> {
  arena.tally.reset(tasks);
  const startMs = performance.now();
  await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: BATCH, lanes: 4 });
  await arena.tally.reached(tasks);
  return (tasks * 1_000) / (performance.now() - startMs);
}

function residents<Name extends string>(pids: Readonly<Record<Name, number>>): Record<Name, number> {
  return Object.fromEntries(Object.entries<number>(pids).map(([name, pid]) => [name, residentMb(pid)])) as Record<
    Name,
    number
  >;
}
