import { setTimeout as delay } from 'node:timers/promises';
import type { Arena, ContenderKind } from '../contender.ts';
import { paced } from '../load.ts';
import { startMeter } from '../meter.ts';
import { nowUs } from '../note.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { verify } from './drain.ts';
import { untilFinished } from './until-finished.ts';

const PER_SECOND = 500;
const QUIET_SECONDS = 2;

/** A task starts at once if it waits no longer than this, or than twice what 99 of 100 waited before the burst. */
const AT_ONCE_MS = 25;

interface Shape {
  /** Tasks of low priority that are submitted at once. */
  readonly tasks: number;
  /** Seconds for which single tasks of the highest priority flow after that. */
  readonly seconds: number;
}

/** Measures how long a burst delays more urgent tasks that flow all the time. */
export function burst({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const shape: Shape = quick ? { tasks: 10_000, seconds: 2 } : { tasks: 100_000, seconds: 15 };
  return {
    name: 'burst',
    title: `${shape.tasks.toLocaleString('en')} tasks of low priority at once, while ${PER_SECOND} of high priority a second flow`,
    goal: 'new tasks of high priority start at once again as soon as the burst is submitted',
    unit: 's until urgent tasks start at once again',
    more: false,
    once: true,
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureBurst(kind, arena, shape))),
  };
}

async function measureBurst(kind: ContenderKind, arena: Arena, { tasks, seconds }: Shape): Promise<Measurement> {
  const { tally } = arena;
  const contender = await kind.open(arena);
  try {
    const service = await contender.startService();
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    const flow = PER_SECOND * (QUIET_SECONDS + seconds);
    // The numbers of the urgent tasks come first.
    tally.reset(flow + tasks);
    const load = { url: service.url, path: service.path, connections: 64, body: service.body };
    const flowing = paced(load, PER_SECOND, QUIET_SECONDS + seconds);
    flowing.catch(() => {});
    await delay(QUIET_SECONDS * 1_000);
    const meter = await startMeter(arena, { server: [service.pid], worker: workers.pids });
    const burstUs = nowUs();
    await contender.submitMany({ from: flow, count: tasks, sleepMs: 0, background: true, batch: 1_000, lanes: 4 });
    const submittedUs = nowUs();
    const { dueUs } = await flowing;
    await tally.reached(flow + tasks);
    await untilFinished(contender);
    const costs = await meter.read(tasks + PER_SECOND * seconds);
    await workers.stop();
    await verify(contender, arena, flow + tasks);

    const waitsMs = dueUs.map((us, n) => ((tally.startsUs[n] as number) - us) / 1_000);
    const before = quantile(waitsMs.slice(PER_SECOND / 2, PER_SECOND * QUIET_SECONDS), 0.99);
    const atOnceMs = Math.max(AT_ONCE_MS, 2 * before);
    const lastLate = waitsMs.findLastIndex((ms, n) => ms > atOnceMs && (dueUs[n] as number) >= burstUs);
    const backSeconds = lastLate < 0 ? 0 : ((dueUs[lastLate] as number) - burstUs) / 1e6;
    const drainedUs = tally.startsUs.subarray(flow).reduce((latest, us) => Math.max(latest, us), 0);
    return {
      value: backSeconds,
      details: {
        's to submit the burst': (submittedUs - burstUs) / 1e6,
        's until the burst was executed': (drainedUs - burstUs) / 1e6,
        'p99 ms before': before,
        'p99 ms after': quantile(
          waitsMs.filter((_, n) => (dueUs[n] as number) >= burstUs),
          0.99,
        ),
        'longest ms after': Math.max(...waitsMs.filter((_, n) => (dueUs[n] as number) >= burstUs)),
        ...costs,
      },
    };
  } finally {
    await contender.close();
  }
}
