import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { scheduler } from '../contenders/scheduler.ts';
import { cpuSeconds, residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';

/** What starting a reclaimer costs, which a CronJob does every minute: until its first pass has ended. */
export function coldStart(_size: Size): Scenario {
  return {
    name: 'cold-start',
    title: 'Cold start of a reclaimer, from the command to the end of its first pass',
    goal: '≤ 0.5 s of CPU',
    unit: 's of CPU',
    more: false,
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

/** How many passes of the reclaimer itself have ended; API processes and workers that stand in are not counted. */
export async function reclaimerPasses({ stores }: Arena, databaseUrl: string): Promise<number> {
  const [row] = await stores.query<{ passes: string }>(
    databaseUrl,
    'SELECT passes_by_reclaimer AS passes FROM sweeper',
  );
  return Number(row?.passes);
}
