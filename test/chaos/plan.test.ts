import { describe, expect, it } from 'vitest';
import { PROCESSES_PLAN, SHORT_PLAN, STORES_PLAN } from './fixed-plans.ts';
import { faultOf, FAULTS } from './faults/index.ts';
import { createPlan } from './plan.ts';
import { PLANTED_DEFECTS, plant } from './planted-defects.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import { FAILURE_TABLE } from './suite.ts';

const plan = (seed: number) => createPlan({ seed, lengthMs: 600_000, settings: DEFAULT_SETTINGS });

describe('createPlan', () => {
  it('gives the same plan for the same seed, and another for another', () => {
    expect(plan(7)).toEqual(plan(7));
    expect(plan(7)).not.toEqual(plan(8));
  });

  it('ends every fault before the load ends', () => {
    const { steps, lengthMs } = plan(3);
    expect(steps.length).toBeGreaterThan(40);
    for (const { atMs, lastsMs } of steps) expect(atMs + lastsMs).toBeLessThan(lengthMs);
  });

  it('never hits one store or process twice at a time', () => {
    const { steps } = plan(5);
    const resourceOf = ({ fault, target }: (typeof steps)[number]): string => target ?? faultOf(fault).resource;
    for (const [resource, ofResource] of Map.groupBy(steps, resourceOf)) {
      if (resource === 'none') continue;
      ofResource.slice(1).forEach(({ atMs }, i) => {
        const before = ofResource[i] as (typeof steps)[number];
        expect(atMs).toBeGreaterThanOrEqual(before.atMs + before.lastsMs);
      });
    }
  });

  it('has every fault in a plan that is long enough', () => {
    const planned = new Set(
      createPlan({ seed: 1, lengthMs: 3_600_000, settings: DEFAULT_SETTINGS }).steps.map(({ fault }) => fault),
    );
    expect([...planned].toSorted()).toEqual(FAULTS.map(({ name }) => name).toSorted());
  });
});

describe('the fixed plans', () => {
  it('name faults that exist, in order of time, and cover the failure table', () => {
    const rows = [PROCESSES_PLAN, STORES_PLAN].flatMap(({ steps }) =>
      steps.flatMap(({ fault }) => faultOf(fault).rows),
    );
    expect([...new Set(rows)].toSorted()).toEqual([...FAILURE_TABLE].toSorted());
    for (const { steps } of [SHORT_PLAN, PROCESSES_PLAN, STORES_PLAN]) {
      expect(steps.map(({ atMs }) => atMs)).toEqual(steps.map(({ atMs }) => atMs).toSorted((a, b) => a - b));
    }
    expect(SHORT_PLAN.steps.every(({ fault }) => FAULTS.includes(faultOf(fault)))).toBe(true);
  });
});

describe('planted defects', () => {
  it.each(PLANTED_DEFECTS.map((defect) => [defect.name, defect] as const))('still fit the sources: %s', (_, defect) => {
    plant(defect).remove();
    expect(defect.caughtBy.length).toBeGreaterThan(0);
  });
});
