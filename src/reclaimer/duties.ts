import type { Config } from '../config/env.ts';
import {
  createEngineDuties,
  openEngineDutyParts,
  type EngineDutyParts,
  type SweepConnections,
} from '../engine/sweep/duties.ts';
import type { Duty } from '../engine/sweep/duty.ts';
import type { SweepLimits } from '../engine/sweep/sweep-context.ts';
import { pruneAuditDuty } from '../features/audit/duty.ts';
import { expireQueuesDuty } from '../features/queues/duty.ts';
import { pruneSessionsDuty } from '../features/sessions/duty.ts';

/** The settings of the features' duties. */
export type FeatureDutySettings = Pick<Config, 'QUEUES_EXPIRY' | 'AUDIT_RETENTION'>;

/**
 * Returns the duties of a pass, in the order in which they run. The reclaimer and all stand-ins (workers and API processes)
 * run the same duties. Add the duty of a new feature at the end.
 */
export function createDuties(
  connections: SweepConnections,
  config: FeatureDutySettings,
  engine: EngineDutyParts = openEngineDutyParts(connections),
): (limits: SweepLimits) => readonly Duty[] {
  return (limits) => [
    ...createEngineDuties(engine, limits),
    expireQueuesDuty(connections, config, limits),
    pruneAuditDuty(connections, config, limits),
    pruneSessionsDuty(connections, limits),
  ];
}
