import { setTimeout as delay } from 'node:timers/promises';
import { outage, requireTarget, type Fault } from './fault.ts';

const HOUR_MS = 3_600_000;

export const CLOCK_FAULTS: readonly Fault[] = [
  jump('clock an hour ahead', HOUR_MS),
  jump('clock an hour behind', -HOUR_MS),
];

function jump(name: string, ms: number): Fault {
  return {
    name,
    family: 'clock',
    resource: 'target',
    targets: ['api', 'worker', 'reclaimer'],
    rows: [],
    lastsMs: outage,
    async inject({ system }, step) {
      const target = requireTarget(step);
      system.shiftClock(target, ms);
      await delay(step.lastsMs);
      system.shiftClock(target, 0);
      return `for ${step.lastsMs} ms`;
    },
  };
}
