import {
  ALERT_SWEEP_INTERVAL_MS,
  API_BEATS_A_GAP,
  API_STANDS_IN_AFTER_MS,
  STAND_IN_AFTER_MS,
  STAND_IN_LOOK_MAX_MS,
  STAND_IN_LOOK_MIN_MS,
  STAND_IN_LOOK_PER_WORKER_MS,
} from '../config/timings.ts';
import type { Config } from '../config/env.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Keys } from '../redis/keys.ts';
import type { RedisConnection } from '../redis/redis.ts';
import type { Database } from '../postgres/database.ts';
import { createPresence } from '../engine/presence/presence.ts';
import type { TaskQueue } from '../engine/order/task-queue.ts';
import { createLeaseStore, type LeaseLook, type SweepRole } from '../engine/sweep/lease-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createDuties, openDutyParts } from './duties.ts';
import { logFailedPass } from './reclaimer.ts';
import { createSweeper } from '../engine/sweep/sweep.ts';
import type { SweepLimits, SweepSettings } from '../engine/sweep/sweep-context.ts';
import type { SweepResult } from '../engine/sweep/sweep-result.ts';

export type StandInRole = Exclude<SweepRole, 'reclaimer'>;

/** What a process lends to its stand-in. */
export interface StandInParts {
  /** The kind of the process. */
  readonly role: StandInRole;
  /** Names the process in the lease. */
  readonly holder: string;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly log: Logger;
}

export interface StandIn extends Service {
  /** Looks, and sweeps if the last pass is too long ago and nobody else is at it. Null: there was no need. */
  runOnce(signal?: AbortSignal): Promise<SweepResult | null>;
}

/**
 * Sweeps while the reclaimer does not: between two of its runs, or when it cannot start. Every worker has one, and
 * every API process too, since there may be no worker at all: scaled to zero, or all of them dead.
 */
export function createStandIn(
  config: SweepSettings & Pick<Config, 'QUEUES_EXPIRY'>,
  parts: StandInParts,
  limits: Partial<SweepLimits> = {},
): StandIn {
  const { role, holder, database, redis, keys, log } = parts;
  const leases = createLeaseStore(database);
  const presence = createPresence(redis, keys);
  const { checkRights } = redis;
  const duties = createDuties(openDutyParts(parts), config);
  const sweeper = createSweeper({ settings: config, holder, leases, presence, checkRights, duties, log, limits });
  let lookMs = STAND_IN_LOOK_MIN_MS;
  let last: SweepResult | null = null;

  const runOnce = async (signal?: AbortSignal): Promise<SweepResult | null> => {
    // Where no worker beats, somebody has to: a time without any beat would count as an outage of Redis, and the dead
    // would never be presumed dead.
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

/** @param mine what the last pass came to, if it was this process's own */
export function isDue({ free, idleMs }: LeaseLook, mine: SweepResult | null, role: StandInRole): boolean {
  if (!free) return false;
  if (idleMs === null || mine?.more === true) return true;
  // Whoever saw a silent worker looks after it: death is to be noticed at the time to live, not seconds later.
  if (mine?.silent === true) return idleMs >= ALERT_SWEEP_INTERVAL_MS / 2;
  return idleMs >= (role === 'api' ? API_STANDS_IN_AFTER_MS : STAND_IN_AFTER_MS);
}

/** The more workers there are, the seldomer each looks, within bounds. */
export function lookInterval(workers: number): number {
  return Math.min(STAND_IN_LOOK_MAX_MS, Math.max(STAND_IN_LOOK_MIN_MS, workers * STAND_IN_LOOK_PER_WORKER_MS));
}
