import type { Step } from './faults/index.ts';
import type { Plan } from './plan.ts';
import { SHORT_SETTINGS, type RunSettings } from './settings.ts';

/** A plan that was written by hand, with the settings of its run. */
export interface FixedPlan {
  readonly plan: Plan;
  readonly settings: RunSettings;
}

type Entry = readonly [atSeconds: number, fault: string, target?: string | null, lastsSeconds?: number];

function plan(seed: number, lengthSeconds: number, entries: readonly Entry[]): Plan {
  const steps = entries.map(([atSeconds, fault, target = null, lastsSeconds = 0]): Step => ({
    atMs: atSeconds * 1_000,
    fault,
    target,
    lastsMs: lastsSeconds * 1_000,
  }));
  return { seed, lengthMs: lengthSeconds * 1_000, steps };
}

const CALM_CLOCKS: RunSettings = { ...SHORT_SETTINGS, postgresClockAheadMs: 0 };

/** The most likely faults, to run with every change. */
const SHORT_PLAN = plan(101, 38, [
  [2, 'long tasks'],
  [3, 'freeze', 'worker-1', 10],
  [4, 'FLUSHALL'],
  [5, 'failures on the fleeting queue'],
  [6, 'kill API between commit and enqueue', 'api-2', 1],
  [9, 'answers lost after execution', null, 4],
  [15, 'PostgreSQL crash'],
  [18, 'kill', 'worker-2'],
  [20, 'terminate', 'api-1'],
  [21, 'Redis stopped', null, 3],
  [28, 'terminate', 'worker-1'],
  [30, 'PostgreSQL stopped', null, 3],
  [34, 'kill', 'reclaimer-1'],
]);

/** Faults of processes and handlers. */
const PROCESSES_PLAN = plan(102, 88, [
  [2, 'handler blocks the event loop for good'],
  [3, 'long tasks'],
  [4, 'freeze', 'worker-1', 10],
  [5, 'failures on the fleeting queue'],
  [6, 'kill API between commit and enqueue', 'api-2', 1],
  [8, 'handler ignores its signal'],
  [9, 'handler throws what is no error'],
  [10, 'requeue while the zombie runs'],
  [12, 'handler blocks the event loop'],
  [14, 'clock an hour ahead', 'api-1', 8],
  [16, 'burst on the strict queue'],
  [17, 'waiting rows locked', null, 4],
  [22, 'terminate', 'worker-1'],
  [24, 'kill the sweeper inside a pass'],
  [29, 'freeze the sweeper inside a pass', null, 5],
  [38, 'poison pill among long tasks'],
  [44, 'clock an hour behind', 'worker-2', 8],
  [46, 'kill', 'api-1'],
  [48, 'freeze all reclaimers', null, 12],
  [62, 'cancel, then SIGKILL'],
  [64, 'freeze', 'api-2', 6],
  [66, "the sweeper's node vanishes", null, 8],
  [76, 'node vanishes', 'worker-2', 8],
  [79, 'kill all workers'],
  [83, 'kill', 'strict-1'],
]);

/** Faults of stores and networks. */
const STORES_PLAN = plan(103, 104, [
  [3, 'FLUSHALL'],
  [5, 'SCRIPT FLUSH'],
  [7, 'PostgreSQL restart'],
  [9, 'Redis stopped', null, 5],
  [15, 'PostgreSQL stopped', null, 5],
  [23, 'Redis refuses writes (MISCONF)', null, 4],
  [28, 'PostgreSQL crash'],
  [31, 'Redis at its memory limit', null, 4],
  [36, 'PostgreSQL frozen', null, 4],
  [41, 'Redis restart from an old snapshot', null, 3],
  [47, 'connections terminated'],
  [49, 'Redis frozen', null, 4],
  [55, 'long lock on tasks', null, 4],
  [60, 'pause, then FLUSHALL', null, 4],
  [65, 'Redis restart without persistence'],
  [66, 'cut from PostgreSQL', 'worker-2', 6],
  [68, 'cut from Redis', 'worker-1', 10],
  [70, 'one way to PostgreSQL', 'api-1', 4],
  [72, 'half-open to Redis', 'reclaimer-1', 6],
  [76, 'half-open to PostgreSQL', 'api-2', 4],
  [80, 'latency and loss to Redis', 'worker-2', 6],
  [80, 'latency and loss to PostgreSQL', 'worker-1', 6],
  [86, 'answers lost after execution', null, 6],
  [92, 'PostgreSQL disk full', null, 4],
  [97, 'Redis disk full (append-only file)', null, 4],
]);

/** Failovers to replicas. The Redis replica lacks the master's last writes; the PostgreSQL standby lacks nothing. */
const FAILOVERS_PLAN = plan(104, 40, [
  [3, 'long tasks'],
  [5, 'Redis failover to a replica that lacks writes', null, 1.5],
  [15, 'synchronous standby takes over', null, 5],
  [22, 'kill', 'worker-1'],
  [24, 'Redis failover to a replica that lacks writes', null, 1],
  [34, 'FLUSHALL'],
]);

const CLUSTER_PLAN = plan(105, 40, [
  [3, 'FLUSHALL'],
  [4, 'freeze', 'worker-1', 9],
  [5, 'one master of the Cluster stopped', null, 4],
  [12, 'Redis restart without persistence'],
  [14, 'pause, then FLUSHALL', null, 3],
  [19, 'cut from Redis', 'worker-2', 9],
  [20, 'answers lost after execution', null, 4],
  [26, 'Redis frozen', null, 4],
  [32, 'kill all workers'],
]);

/** Fixed plans by the name of their part of the suite. */
export const FIXED_PLANS: Readonly<Record<string, FixedPlan>> = {
  short: { plan: SHORT_PLAN, settings: CALM_CLOCKS },
  processes: { plan: PROCESSES_PLAN, settings: CALM_CLOCKS },
  stores: { plan: STORES_PLAN, settings: SHORT_SETTINGS },
  failovers: { plan: FAILOVERS_PLAN, settings: { ...CALM_CLOCKS, redis: 'sentinel' } },
  cluster: { plan: CLUSTER_PLAN, settings: { ...CALM_CLOCKS, redis: 'cluster' } },
};
