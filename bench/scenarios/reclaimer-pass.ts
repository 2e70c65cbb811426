import { readConfig } from '../../src/config/read-config.ts';
import { createTaskQueue } from '../../src/engine/order/task-queue.ts';
import { createPresence } from '../../src/engine/presence/presence.ts';
import { createWorkerRegistry } from '../../src/engine/presence/worker-registry.ts';
import { createLeaseStore } from '../../src/engine/sweep/lease-store.ts';
import { createSweeper } from '../../src/engine/sweep/sweep.ts';
import { createDatabase } from '../../src/postgres/database.ts';
import { createDuties } from '../../src/reclaimer/duties.ts';
import { createKeys } from '../../src/redis/keys.ts';
import { createRedis } from '../../src/redis/redis.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createOutage } from '../../src/telemetry/outage.ts';
import type { Arena } from '../contender.ts';
import { scheduler, type SchedulerContender } from '../contenders/scheduler.ts';
import { fillRunning } from '../fill.ts';
import { cpuSeconds } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { median } from '../statistics.ts';
import { settleStores } from './drain.ts';

const WORKERS = 100;
const PASSES = 5;

/** Measures a pass of the sweeper over many tasks that run well, which is the usual case. */
export function reclaimerPass({ quick }: Size): Scenario {
  const tasks = quick ? 10_000 : 100_000;
  return {
    name: 'reclaimer-pass',
    title: `Reclaimer's pass over ${tasks / 1_000}k tasks in flight, held by ${WORKERS} workers that beat`,
    goal: '≤ 1 s',
    unit: 'ms',
    more: false,
    once: true,
    // The sweeper compares claims between 10 and 40 s of age with their rows; it only reads the others.
    entrants: [
      entrantOf({ ...scheduler(), name: 'claimed a minute ago' }, (arena) => measurePass(arena, tasks, 60_000)),
      entrantOf({ ...scheduler(), name: 'claimed 12 s ago' }, (arena) => measurePass(arena, tasks, 12_000)),
    ],
  };
}

async function measurePass(arena: Arena, tasks: number, ageMs: number): Promise<Measurement> {
  const contender = await scheduler().open(arena);
  try {
    const holders = await fillRunning(arena, contender, tasks, WORKERS, ageMs);
    await settleStores(contender, arena);
    const { pass, beat, close } = openSweeper(contender);
    try {
      await beat(holders);
      const first = await pass();
      const further: number[] = [];
      const cpuBefore = cpuOfAll(arena);
      for (let i = 0; i < PASSES; i++) {
        await beat(holders);
        further.push(await pass());
      }
      const cpuMs = ((cpuOfAll(arena) - cpuBefore) * 1_000) / PASSES;
      const [row] = await arena.stores.query<{ count: string }>(
        contender.databaseUrl,
        `SELECT count(*) FROM unfinished WHERE status = 'PROCESSING' AND lost = 0`,
      );
      if (Number(row?.count) !== tasks) throw new Error(`${row?.count} of ${tasks} tasks are unchanged`);
      return { value: median(further), details: { 'first pass ms': first, 'CPU ms, sweeper and stores': cpuMs } };
    } finally {
      await close();
    }
  } finally {
    await contender.close();
  }
}

/** Returns the CPU seconds of the stores and of this process, which runs the sweeper. */
function cpuOfAll({ stores }: Arena): number {
  return stores.postgresCpuSeconds() + stores.redisCpuSeconds() + cpuSeconds(process.pid);
}

function openSweeper({ environment }: SchedulerContender) {
  const config = readConfig(environment);
  const log = createLogger('silent', {});
  const metrics = createMetrics();
  const database = createDatabase(config, createOutage('postgresql', log, metrics, Date.now), log);
  const redis = createRedis(config, createOutage('redis', log, metrics, Date.now), log);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const registry = createWorkerRegistry(redis, keys);
  const sweeper = createSweeper({
    settings: config,
    holder: 'bench',
    leases: createLeaseStore(database),
    presence: createPresence(redis, keys),
    checkRights: redis.checkRights,
    duties: createDuties({ database, redis, keys, queue: createTaskQueue(redis, keys) }, config),
    log,
  });
  const description = {
    host: 'bench',
    pid: 1,
    queues: ['default'],
    slots: 1_000,
    busy: 1_000,
    startedAt: '',
    draining: false,
  };
  return {
    async pass(): Promise<number> {
      await redis.untilReady(10_000);
      const startMs = performance.now();
      // If a pass leaves work over, the next one follows at once; the bench counts them as one.
      for (let more = true; more;) {
        const result = await sweeper.runOnce('reclaimer');
        if (result === null) throw new Error('another process holds the lease');
        more = result.more;
      }
      return performance.now() - startMs;
    },
    beat: async (ids: readonly string[]) => {
      await redis.untilReady(10_000);
      await Promise.all(ids.map((id) => registry.beat({ ...description, id }, config)));
    },
    close: () => Promise.all([database.close(), redis.close()]),
  };
}
