import type { Config } from '../../config/env.ts';
import {
  CLAIM_LOOK_UNTIL_MS,
  CLAIM_LOST_AFTER_MS,
  PAST_DAY_PAUSE_MS,
  PRUNE_INTERVAL_MS,
  REGISTRY_FORGET_MS,
  ROLLING_SCAN_ROUND_MS,
  SWEEP_DUTY_MS,
  SWEEPER_LEASE_MS,
  WATERMARK_LAG_MS,
  WATERMARK_OVERLAP_MS,
} from '../../config/timings.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../telemetry/logger.ts';

/** Times and limits of a pass. Tests use shorter ones. */
export interface SweepLimits {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
  readonly claimLostAfterMs: number;
  readonly claimLookUntilMs: number;
  readonly registryForgetMs: number;
  readonly scanRoundMs: number;
  readonly pruneIntervalMs: number;
  /** Milliseconds until a past day is looked at again that cannot be dropped yet. */
  readonly pastDayPauseMs: number;
  /** Milliseconds that one duty may take in one pass. The next pass does the rest. */
  readonly dutyMs: number;
  /** Rows per page. */
  readonly pageRows: number;
  /** Rows per page of a rebuild. Pages are larger there, because each page reads and sorts all waiting tasks. */
  readonly rebuildRows: number;
  /** Most rows that one statement of a survey reads before a day is dropped. */
  readonly surveyRows: number;
  /** Most tasks that are moved out of a day that is dropped. Everything waits meanwhile. */
  readonly movedTasks: number;
  /** Most rows that one statement takes back or deletes, so that it ends well within the lease. */
  readonly batchRows: number;
}

export const SWEEP_LIMITS: SweepLimits = {
  leaseMs: SWEEPER_LEASE_MS,
  overlapMs: WATERMARK_OVERLAP_MS,
  lagMs: WATERMARK_LAG_MS,
  claimLostAfterMs: CLAIM_LOST_AFTER_MS,
  claimLookUntilMs: CLAIM_LOOK_UNTIL_MS,
  registryForgetMs: REGISTRY_FORGET_MS,
  scanRoundMs: ROLLING_SCAN_ROUND_MS,
  pruneIntervalMs: PRUNE_INTERVAL_MS,
  pastDayPauseMs: PAST_DAY_PAUSE_MS,
  dutyMs: SWEEP_DUTY_MS,
  pageRows: 5_000,
  rebuildRows: 20_000,
  surveyRows: 20_000,
  movedTasks: 1_000,
  batchRows: 1_000,
};

export type SweepSettings = Pick<
  Config,
  'HEARTBEAT_INTERVAL' | 'HEARTBEAT_TTL' | 'HEARTBEAT_GAP' | 'LOST_CAP' | 'RETENTION' | 'RETENTION_FAILED'
>;

/** The context that all duties share. Each duty adds the stores that it needs. */
export interface SweepContext {
  readonly settings: SweepSettings;
  readonly log: Logger;
  readonly limits: SweepLimits;
  readonly clock: Clock;
  readonly memory: SweepMemory;
}

/** What a process remembers between its passes. */
export interface SweepMemory {
  /** Claims whose tasks run. They need not be looked up in every pass. */
  running: ReadonlySet<string>;
}
