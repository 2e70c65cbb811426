import { setTimeout as delay } from 'node:timers/promises';
import type { Arena } from '../contender.ts';
import { scheduler } from '../contenders/scheduler.ts';
import { cpuSeconds } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';

const SLOTS = 20;

/** Measures the cost of idle workers. */
export function idle({ quick }: Size): Scenario {
  const processes = quick ? 2 : 10;
  return {
    name: 'idle',
    title: `${processes * SLOTS} idle slots in ${processes} worker processes`,
    goal: '≤ 2.5 % of a core in all',
    unit: '% of a core',
    more: false,
    once: true,
    entrants: [entrantOf(scheduler(), (arena) => measureIdle(arena, processes, quick ? 6 : 60))],
  };
}

async function measureIdle(arena: Arena, processes: number, seconds: number): Promise<Measurement> {
  const { stores } = arena;
  const contender = await scheduler().open(arena);
  try {
    const workers = await contender.startWorkers({ processes, slots: SLOTS });
    // Wait until the workers have done the work of starting, which is not part of idling.
    await delay(3_000);
    const before = await standing(arena, workers.pids);
    await delay(seconds * 1_000);
    const after = await standing(arena, workers.pids);
    await workers.stop();
    const share = (from: number, to: number): number => ((to - from) / seconds) * 100;
    const perMinute = (from: number, to: number): number => ((to - from) / seconds) * 60;
    const parts = {
      'workers %': share(before.workers, after.workers),
      'PostgreSQL %': share(before.postgres, after.postgres),
      'Redis %': share(before.redis, after.redis),
    };
    return {
      value: Object.values(parts).reduce((sum, part) => sum + part, 0),
      details: {
        ...parts,
        'transactions a minute': perMinute(before.transactions, after.transactions),
        'Redis commands a minute': perMinute(before.commands, after.commands),
      },
    };
  } finally {
    await contender.close();
  }

  async function standing({ stores: { redis } }: Arena, pids: readonly number[]) {
    const [row] = await stores.query<{ transactions: string }>(
      stores.postgres.url,
      `SELECT sum(xact_commit + xact_rollback) AS transactions FROM pg_stat_database WHERE datname LIKE 'bench\\_scheduler\\_%'`,
    );
    return {
      workers: pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0),
      postgres: stores.postgresCpuSeconds(),
      redis: stores.redisCpuSeconds(),
      transactions: Number(row?.transactions),
      // Redis also counts the commands that scripts call.
      commands: Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1]),
    };
  }
}
