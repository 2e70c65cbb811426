import { describe, expect, it } from 'vitest';
import { faultOf, FAULTS } from './faults/index.ts';
import { FIXED_PLANS } from './fixed-plans.ts';
import { createPlan } from './plan.ts';
import { PLANTED_DEFECTS, plant } from './planted-defects.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import { FAILURE_TABLE, FULL_SUITE } from './suite.ts';

const plan = (seed: number) => createPlan({ seed, lengthMs: 600_000, settings: DEFAULT_SETTINGS });

const byText = (a: string, b: string): number => a.localeCompare(b);

describe('createPlan', () => {
  it('returns the same plan for the same seed, and different plans for different seeds', () => {
    expect(plan(7)).toEqual(plan(7));
    expect(plan(7)).not.toEqual(plan(8));
  });

  it('ends every fault before the load ends', () => {
    const { steps, lengthMs } = plan(3);
    expect(steps.length).toBeGreaterThan(40);
    for (const { atMs, lastsMs } of steps) expect(atMs + lastsMs).toBeLessThan(lengthMs);
  });

  it('never has two simultaneous faults of the same store or process', () => {
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

  it('uses every fault in a plan that is long enough', () => {
    for (const redis of ['single', 'sentinel', 'cluster'] as const) {
      const { steps } = createPlan({ seed: 1, lengthMs: 3_600_000, settings: { ...DEFAULT_SETTINGS, redis } });
      const fitting = FAULTS.filter((fault) => (fault.redis ?? redis) === redis).map(({ name }) => name);
      expect([...new Set(steps.map(({ fault }) => fault))].toSorted(byText)).toEqual(fitting.toSorted(byText));
    }
  });
});

describe('the fixed plans', () => {
  const plans = Object.values(FIXED_PLANS);

  it('cover the failure table', () => {
    const ofFull = FULL_SUITE.flatMap((part) => FIXED_PLANS[part]?.plan.steps ?? []);
    const rows = new Set(ofFull.flatMap(({ fault }) => faultOf(fault).rows));
    expect([...rows].toSorted(byText)).toEqual([...FAILURE_TABLE].toSorted(byText));
  });

  it('contain only existing faults that fit their Redis, in order of time', () => {
    for (const { plan: fixed, settings } of plans) {
      expect(fixed.steps).toEqual(fixed.steps.toSorted((a, b) => a.atMs - b.atMs));
      for (const { fault } of fixed.steps) expect(faultOf(fault).redis ?? settings.redis).toBe(settings.redis);
    }
  });
});

describe('planted defects', () => {
  it.each(PLANTED_DEFECTS.map((defect) => [defect.name, defect] as const))(
    'still match the sources: %s',
    (_, defect) => {
      plant(defect).remove();
      expect(defect.caughtBy.length).toBeGreaterThan(0);
    },
  );
});
