import type { Config } from '../config/env.ts';
import { SWEEP_STATEMENT_TIMEOUT_MS } from '../config/timings.ts';
import {
  createEngineDuties,
  openEngineDutyParts,
  type EngineDutyParts,
  type SweepConnections,
} from '../engine/sweep/duties.ts';
import type { Duty } from '../engine/sweep/duty.ts';
import type { SweepLimits } from '../engine/sweep/sweep-context.ts';
import { expireQueuesDuty, type ExpiryParts } from '../features/queues/expire-queues.ts';
import { createQueueStore } from '../features/queues/queue-store.ts';

/** The parts that the duties of the engine and of the features use. */
export interface DutyParts {
  readonly engine: EngineDutyParts;
  readonly expiry: Pick<ExpiryParts, 'store' | 'forget'>;
}

export function openDutyParts(connections: SweepConnections): DutyParts {
  const { database, queue } = connections;
  return {
    engine: openEngineDutyParts(connections),
    expiry: { store: createQueueStore(database, SWEEP_STATEMENT_TIMEOUT_MS), forget: queue.forget },
  };
}

/**
 * Returns the duties of a pass, in the order in which they run. The reclaimer and all stand-ins (workers and API processes)
 * run the same duties. Add the duty of a new feature at the end.
 */
export function createDuties(
  { engine, expiry }: DutyParts,
  settings: Pick<Config, 'QUEUES_EXPIRY'>,
): (limits: SweepLimits) => readonly Duty[] {
  return (limits) => [...createEngineDuties(engine, limits), expireQueuesDuty({ ...expiry, settings }, limits)];
}
