import type { RedisKind } from './redis-under-test.ts';

/** The size and the timings of a run. Every plan is made for certain settings. */
export interface RunSettings {
  readonly redis: RedisKind;
  /** How far PostgreSQL's clock is ahead of all others; it has no effect without libfaketime. */
  readonly postgresClockAheadMs: number;
  readonly apis: number;
  readonly workers: number;
  readonly slots: number;
  readonly reclaimers: number;
  /** Approximate number of tasks per second that all clients submit together. */
  readonly tasksPerSecond: number;
  readonly clients: number;
  /** Share of the tasks that go to the queue with one slot, from 0 to 1. */
  readonly strictShare: number;
  readonly heartbeatIntervalMs: number;
  readonly ttlMs: number;
  /** The bound of the recovery; 15 s at the default TTL. */
  readonly recoveryMs: number;
  /** Rate limit of each client's address. The clients come close to it, so that some of their requests are refused. */
  readonly rateLimitPerMinute: number;
  /** The longest outage of a store. */
  readonly outageMaxMs: number;
  /** How long the system may take to come to rest. */
  readonly restMs: number;
  readonly lostCap: number;
}

/** Settings like those of operators, with more than a million tasks per hour. */
export const DEFAULT_SETTINGS: RunSettings = {
  redis: 'single',
  postgresClockAheadMs: 50,
  apis: 2,
  workers: 3,
  slots: 40,
  reclaimers: 2,
  tasksPerSecond: 400,
  clients: 12,
  strictShare: 0.015,
  heartbeatIntervalMs: 3_000,
  ttlMs: 10_000,
  recoveryMs: 15_000,
  rateLimitPerMinute: 4_000,
  outageMaxMs: 30_000,
  restMs: 180_000,
  lostCap: 3,
};

/** Settings for short runs. The TTL stays above HEARTBEAT_GAP, by which an outage of Redis is recognized. */
export const SHORT_SETTINGS: RunSettings = {
  ...DEFAULT_SETTINGS,
  workers: 2,
  slots: 10,
  tasksPerSecond: 40,
  clients: 6,
  strictShare: 0.06,
  rateLimitPerMinute: 800,
  heartbeatIntervalMs: 2_000,
  ttlMs: 7_000,
  recoveryMs: 12_000,
  outageMaxMs: 8_000,
  restMs: 90_000,
};
