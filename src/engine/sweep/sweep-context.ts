import {
  CLAIM_LOOK_UNTIL_MS,
  CLAIM_LOST_AFTER_MS,
  PRUNE_INTERVAL_MS,
  REGISTRY_FORGET_MS,
  ROLLING_SCAN_ROUND_MS,
  SWEEP_DUTY_MS,
  SWEEPER_LEASE_MS,
  WATERMARK_LAG_MS,
  WATERMARK_OVERLAP_MS,
} from '../../config/timings.ts';
import type { Config } from '../../config/env.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../telemetry/logger.ts';

/** Times and bounds of a pass; the tests give shorter ones. All in milliseconds unless they say otherwise. */
export interface SweepLimits {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
  readonly claimLostAfterMs: number;
  readonly claimLookUntilMs: number;
  readonly registryForgetMs: number;
  readonly scanRoundMs: number;
  readonly pruneIntervalMs: number;
  /** How long one duty may go on in one pass; what is left is the next pass's. */
  readonly dutyMs: number;
  /** Rows of one page. */
  readonly pageRows: number;
  /** Rows of one page of a rebuild, each of which reads and sorts all that waits. */
  readonly rebuildRows: number;
  /** Rows that one statement takes back or deletes: it has to end well within the lease. */
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
  dutyMs: SWEEP_DUTY_MS,
  pageRows: 5_000,
  rebuildRows: 20_000,
  batchRows: 1_000,
};

export type SweepSettings = Pick<
  Config,
  'HEARTBEAT_INTERVAL' | 'HEARTBEAT_TTL' | 'HEARTBEAT_GAP' | 'LOST_CAP' | 'RETENTION' | 'RETENTION_FAILED'
>;

/** What every duty gets; each adds the stores that it needs. */
export interface SweepContext {
  readonly settings: SweepSettings;
  readonly log: Logger;
  readonly limits: SweepLimits;
  readonly clock: Clock;
  readonly memory: SweepMemory;
}

/** What a process remembers from one of its passes to the next. */
export interface SweepMemory {
  /** Claims that were seen to run: they need not be looked up in every pass. */
  running: ReadonlySet<string>;
}
