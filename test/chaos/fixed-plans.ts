import type { Step } from './faults/index.ts';
import type { Plan } from './plan.ts';

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

/** The likeliest faults, for every change. */
export const SHORT_PLAN = plan(101, 38, [
  [2, 'long tasks'],
  [3, 'freeze', 'worker-1', 10],
  [4, 'FLUSHALL'],
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

/** Everything that processes and handlers can do. */
export const PROCESSES_PLAN = plan(102, 76, [
  [2, 'handler blocks the event loop for good'],
  [3, 'long tasks'],
  [4, 'freeze', 'worker-1', 10],
  [6, 'kill API between commit and enqueue', 'api-2', 1],
  [8, 'handler ignores its signal'],
  [9, 'handler throws what is no error'],
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
  [64, 'freeze', 'api-2', 6],
  [66, 'kill all workers'],
  [71, 'kill', 'strict-1'],
]);

/** Everything that stores and networks can do. */
export const STORES_PLAN = plan(103, 96, [
  [3, 'FLUSHALL'],
  [5, 'SCRIPT FLUSH'],
  [7, 'PostgreSQL restart'],
  [9, 'Redis stopped', null, 5],
  [16, 'PostgreSQL stopped', null, 5],
  [22, 'Redis refuses writes (MISCONF)', null, 4],
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
]);
