import type { RedisKind } from './redis-under-test.ts';

/** How large a run is and how fast its parts are; a plan belongs to one of these. */
export interface RunSettings {
  readonly redis: RedisKind;
  /** By how much PostgreSQL's clock is ahead of Redis's and everybody else's, where that can be had. */
  readonly postgresClockAheadMs: number;
  readonly apis: number;
  readonly workers: number;
  readonly slots: number;
  readonly reclaimers: number;
  /** Tasks a second that the clients offer together, about. */
  readonly tasksPerSecond: number;
  readonly clients: number;
  /** Of all tasks, those on the queue with one slot. */
  readonly strictShare: number;
  readonly heartbeatIntervalMs: number;
  readonly ttlMs: number;
  /** Recovery bound: 15 s at the default TTL. */
  readonly recoveryMs: number;
  /** Of each client's address; the clients come near it, so that some of their requests are refused. */
  readonly rateLimitPerMinute: number;
  /** The longest outage of a store. */
  readonly outageMaxMs: number;
  /** How long the system may take to come to rest. */
  readonly restMs: number;
  readonly lostCap: number;
}

/** As operators run it, with a million tasks an hour. */
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

/** Shortened where a default would take minutes; the TTL stays above the gap of beats that tells an outage of Redis. */
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
