import { CLOCK_FAULTS } from './clock.ts';
import type { Fault } from './fault.ts';
import { HANDLER_FAULTS } from './handlers.ts';
import { NETWORK_FAULTS } from './network.ts';
import { POSTGRES_FAULTS } from './postgresql.ts';
import { PROCESS_FAULTS } from './processes.ts';
import { REDIS_FAULTS } from './redis.ts';

export { NotPossibleHereError, type Fault, type FaultContext, type Step } from './fault.ts';

export const FAULTS: readonly Fault[] = [
  ...PROCESS_FAULTS,
  ...REDIS_FAULTS,
  ...POSTGRES_FAULTS,
  ...NETWORK_FAULTS,
  ...CLOCK_FAULTS,
  ...HANDLER_FAULTS,
];

export function faultOf(name: string): Fault {
  const fault = FAULTS.find((candidate) => candidate.name === name);
  if (fault === undefined) throw new Error(`no fault is called ${name}`);
  return fault;
}
