import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { scheduler } from '../contenders/scheduler.ts';
import { cpuSeconds, residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';

/** Measures the start of a reclaimer until its first pass has ended. A CronJob starts one every minute. */
export function coldStart(_size: Size): Scenario {
  return {
    name: 'cold-start',
    title: 'Cold start of a reclaimer, from the command to the end of its first pass',
    goal: '≤ 0.5 s of CPU',
    unit: 's of CPU',
    more: false,
    once: true,
    entrants: [entrantOf(scheduler(), measureStart)],
  };
}

async function measureStart(arena: Arena): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    const startMs = performance.now();
    const reclaimer = await contender.run(['reclaimer', '--loop'], 'reclaimer started');
    while ((await reclaimerPasses(arena, contender.databaseUrl)) === 0) await delay(5);
    const seconds = (performance.now() - startMs) / 1_000;
    return {
      value: cpuSeconds(reclaimer.pid),
      details: { 's of time': seconds, 'resident MB': residentMb(reclaimer.pid) },
    };
  } finally {
    await contender.close();
  }
}

/** Counts the passes that the reclaimer itself has finished, without those of stand-ins (API processes and workers). */
export async function reclaimerPasses({ stores }: Arena, databaseUrl: string): Promise<number> {
  const [row] = await stores.query<{ passes: string }>(
    databaseUrl,
    'SELECT passes_by_reclaimer AS passes FROM sweeper',
  );
  return Number(row?.passes);
}
