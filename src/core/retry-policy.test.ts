import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_BACKOFF, hasRetriesLeft, retryDelayMs } from './retry-policy.ts';

const policy = fc.record({
  baseMs: fc.integer({ min: 0, max: 3_600_000 }),
  factor: fc.double({ min: 1, max: 10, noNaN: true }),
  maxMs: fc.integer({ min: 0, max: 86_400_000 }),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
});
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('retryDelayMs', () => {
  it('is 2 s, 4 s, 8 s by default', () => {
    expect([1, 2, 3].map((failures) => retryDelayMs(DEFAULT_BACKOFF, failures, () => 0.5))).toEqual([
      2_000, 4_000, 8_000,
    ]);
  });

  it('stays between the delay less the jitter and the maximum, even if the power overflows', () => {
    fc.assert(
      fc.property(policy, fc.integer({ min: 1, max: 10_000 }), chance, (p, failures, random) => {
        const delay = retryDelayMs(p, failures, () => random);
        const full = Math.min(p.maxMs, p.baseMs * p.factor ** (failures - 1)) || 0;
        expect(delay).toBeLessThanOrEqual(p.maxMs);
        expect(delay).toBeGreaterThanOrEqual(Math.floor(full * (1 - p.jitter)));
      }),
    );
  });

  it('is always 0 if the base is 0', () => {
    expect(retryDelayMs({ baseMs: 0, factor: 10, maxMs: 1_000, jitter: 0 }, 10_000, () => 0)).toBe(0);
  });

  it('never shrinks from one failure to the next without jitter', () => {
    fc.assert(
      fc.property(policy, fc.integer({ min: 1, max: 1_000 }), (p, failures) => {
        const steady = { ...p, jitter: 0 };
        expect(retryDelayMs(steady, failures + 1, Math.random)).toBeGreaterThanOrEqual(
          retryDelayMs(steady, failures, Math.random),
        );
      }),
    );
  });
});

describe('hasRetriesLeft', () => {
  it('allows max_retries retries after the first attempt', () => {
    expect([1, 2, 3, 4].map((failures) => hasRetriesLeft(failures, 3))).toEqual([true, true, true, false]);
    expect(hasRetriesLeft(1, 0)).toBe(false);
  });
});
