import {
  ALERT_SWEEP_INTERVAL_MS,
  API_BEATS_A_GAP,
  API_STANDS_IN_AFTER_MS,
  STAND_IN_AFTER_MS,
  STAND_IN_LOOK_MAX_MS,
  STAND_IN_LOOK_MIN_MS,
  STAND_IN_LOOK_PER_WORKER_MS,
} from '../config/timings.ts';
import type { TaskQueue } from '../engine/order/task-queue.ts';
import { createPresence } from '../engine/presence/presence.ts';
import { createLeaseStore, type LeaseLook, type SweepRole } from '../engine/sweep/lease-store.ts';
import type { SweepLimits, SweepSettings } from '../engine/sweep/sweep-context.ts';
import type { SweepResult } from '../engine/sweep/sweep-result.ts';
import { createSweeper } from '../engine/sweep/sweep.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from '../postgres/database.ts';
import type { Keys } from '../redis/keys.ts';
import type { RedisConnection } from '../redis/redis.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createDuties, type FeatureDutySettings } from './duties.ts';
import { logFailedPass } from './reclaimer.ts';

export type StandInRole = Exclude<SweepRole, 'reclaimer'>;

/** The parts that a process shares with its stand-in. */
export interface StandInParts {
  /** Kind of the process. */
  readonly role: StandInRole;
  /** Name of the process in the lease. */
  readonly holder: string;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly log: Logger;
}

export interface StandIn extends Service {
  /** Sweeps if the last pass is too long ago and the lease is free. Returns null if it did not sweep. */
  runOnce(signal?: AbortSignal): Promise<SweepResult | null>;
}

/**
 * Sweeps while the reclaimer does not: between two of its runs, or when it cannot start. Every worker and every API process
 * has a stand-in. The API has one because there may be no worker, when workers are scaled to zero or all dead.
 */
export function createStandIn(
  config: SweepSettings & FeatureDutySettings,
  parts: StandInParts,
  limits: Partial<SweepLimits> = {},
): StandIn {
  const { role, holder, database, redis, keys, log } = parts;
  const leases = createLeaseStore(database);
  const presence = createPresence(redis, keys);
  const { checkRights } = redis;
  const duties = createDuties(parts, config);
  const sweeper = createSweeper({ settings: config, holder, leases, presence, checkRights, duties, log, limits });
  let lookMs = STAND_IN_LOOK_MIN_MS;
  let last: SweepResult | null = null;

  const runOnce = async (signal?: AbortSignal): Promise<SweepResult | null> => {
    // The API beats in case no worker does. A time without any beat counts as an outage of Redis, so dead workers would
    // never be presumed dead.
    if (role === 'api') await presence.beat(config.HEARTBEAT_GAP);
    const look = await leases.lookAtLease();
    const due = isDue(look, look.holder === holder ? last : null, role);
    last = due ? await sweeper.runOnce(role, signal) : null;
    lookMs = last === null ? lookInterval(await presence.workerCount()) : STAND_IN_LOOK_MIN_MS;
    if (role === 'api') lookMs = Math.min(lookMs, config.HEARTBEAT_GAP / API_BEATS_A_GAP);
    return last;
  };

  const loop = createLoop({
    name: 'stand-in',
    intervalMs: () => (last?.more === true ? 0 : lookMs),
    jitter: 0.5,
    runOnce,
    onError: (error) => {
      last = null;
      logFailedPass(error, log);
    },
  });
  return { name: 'stand-in', runOnce, start: () => loop.start(), stop: () => loop.stop() };
}

/** @param mine result of the last pass if this process ran it, otherwise null */
export function isDue({ free, idleMs }: LeaseLook, mine: SweepResult | null, role: StandInRole): boolean {
  if (!free) return false;
  if (idleMs === null || mine?.more === true) return true;
  // The process that saw a silent worker sweeps again soon, so that a death is noticed when the time to live is over.
  if (mine?.silent === true) return idleMs >= ALERT_SWEEP_INTERVAL_MS / 2;
  return idleMs >= (role === 'api' ? API_STANDS_IN_AFTER_MS : STAND_IN_AFTER_MS);
}

/** Returns the milliseconds between two looks. With more workers, each looks less often, within bounds. */
export function lookInterval(workers: number): number {
  return Math.min(STAND_IN_LOOK_MAX_MS, Math.max(STAND_IN_LOOK_MIN_MS, workers * STAND_IN_LOOK_PER_WORKER_MS));
}
