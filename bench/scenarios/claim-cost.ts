import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { payloadOf, scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { FILLED_BY, fillFinished, fillWaiting } from '../fill.ts';
import { paced } from '../load.ts';
import { cpuSeconds } from '../processes.ts';
import type { Entrant, Measurement, Scenario, Size } from '../scenario.ts';
import { entrantOf } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { reclaimerPasses } from './cold-start.ts';
import { settleStores } from './drain.ts';

const LITTLE = 1_000;
const SUBMITS_PER_SECOND = 200;

interface Surroundings {
  readonly waiting: number;
  readonly finished: number;
  /** Whether the finished tasks are past their retention, so that the reclaimer deletes them during the measurement. */
  readonly pruned: boolean;
}

/** Measures claims, starts and settles beside many waiting tasks, and while others are pruned. `rows` has the finished ones. */
export function claimCost({ quick, waiting, finished }: Size): Scenario {
  const tasks = quick ? 5_000 : 20_000;
  const pruned = Math.min(finished, 1_000_000);
  const beside = (name: string, surroundings: Surroundings): Entrant =>
    entrantOf({ ...scheduler(), name }, (arena) => measureBeside(arena, surroundings, tasks));
  const many = (count: number): string => count.toLocaleString('en');
  return {
    name: 'claim-cost',
    title: `Drain of ${tasks / 1_000}k tasks beside many others, and single submissions at ${SUBMITS_PER_SECOND} a second`,
    goal: '≤ 1.2 × the cost beside a thousand waiting; p99 of a submission ≤ 2 ×',
    unit: 'µs of CPU a task, worker and stores',
    more: false,
    once: true,
    entrants: [
      beside(`beside ${many(LITTLE)} waiting`, { waiting: LITTLE, finished: 0, pruned: false }),
      beside(`beside ${many(waiting)} waiting`, { waiting, finished: 0, pruned: false }),
      beside(`while ${many(pruned)} are pruned`, { waiting: LITTLE, finished: pruned, pruned: true }),
    ],
  };
}

async function measureBeside(arena: Arena, beside: Surroundings, tasks: number): Promise<Measurement> {
  const { stores, tally } = arena;
  const contender = await scheduler().open(arena);
  try {
    const sweep = async (): Promise<void> => {
      await contender.run(['reclaimer', '--loop'], 'reclaimer started');
      while ((await reclaimerPasses(arena, contender.databaseUrl)) === 0) await delay(20);
    };
    // Start it before the fill: its first pass on a Redis that it does not know enters all waiting tasks once.
    if (!beside.pruned) await sweep();
    await fillWaiting(arena, contender, beside.waiting);
    await fillFinished(arena, contender, { count: beside.finished, ageDays: beside.pruned ? 30 : 0 });
    await settleStores(contender, arena);
    const submitP99 = async (): Promise<number> => {
      // These numbers and this priority keep the submissions apart from the tasks that the tally counts.
      const body = (n: number): string => JSON.stringify({ payload: payloadOf(tasks + n, 0), priority: 'Low' });
      const load = { url: contender.baseUrl, path: '/tasks', connections: 8, body };
      await paced(load, SUBMITS_PER_SECOND, 1);
      return quantile((await paced(load, SUBMITS_PER_SECOND, tasks / 2_500)).latenciesMs, 0.99);
    };
    if (beside.pruned) await sweep();
    const p99 = await submitP99();

    tally.reset(tasks);
    await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: 1_000, lanes: 4 });
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    await tally.reached(tasks / 10);
    const cpu = (): number =>
      stores.postgresCpuSeconds() +
      stores.redisCpuSeconds() +
      workers.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    const before = cpu();
    await tally.reached(tasks);
    const spent = cpu() - before;
    const startsUs = tally.startsUs.toSorted();
    const seconds = ((startsUs.at(-1) as number) - (startsUs[tasks / 10] as number)) / 1e6;
    await workers.stop();
    await verifyMeasured(contender, arena, tasks);
    const pruned = beside.finished - (await finishedBeside(contender, arena));
    if (beside.pruned && pruned === 0) throw new Error('nothing was pruned');
    return {
      value: (spent * 1e6) / (tasks * 0.9),
      details: {
        'tasks/s': (tasks * 0.9) / seconds,
        'p99 ms of a submission': p99,
        ...(beside.pruned ? { 'tasks pruned meanwhile': pruned } : {}),
      },
    };
  } finally {
    await contender.close();
  }
}

async function finishedBeside({ databaseUrl }: SchedulerContender, { stores }: Arena): Promise<number> {
  const [row] = await stores.query<{ count: string }>(
    databaseUrl,
    `SELECT count(*) FROM finished WHERE worker_id = $1 AND status = 'COMPLETED'`,
    [FILLED_BY],
  );
  return Number(row?.count);
}

/** Checks that the measured tasks are finished. Their priority distinguishes them from the tasks beside them. */
async function verifyMeasured(
  { databaseUrl }: SchedulerContender,
  { stores, tally }: Arena,
  tasks: number,
): Promise<void> {
  const { never, repeated } = tally.wrong();
  if (never > 0 || repeated > 0) throw new Error(`${never} tasks never executed, ${repeated} more than once`);
  const [row] = await stores.query<{ count: string }>(
    databaseUrl,
    `SELECT count(*) FROM finished f JOIN submissions s ON s.id = f.id
     WHERE s.priority = 2 AND f.worker_id <> $1 AND f.status = 'COMPLETED' AND f.outcome = 'COMPLETED'`,
    [FILLED_BY],
  );
  if (Number(row?.count) !== tasks) throw new Error(`${row?.count} of ${tasks} are recorded as finished`);
}
