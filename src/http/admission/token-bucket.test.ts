import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { takeTokens, type BucketState } from './token-bucket.ts';

const limits = { capacity: 50, refillPerSecond: 50 / 60 };

function admittedOf(requests: readonly { atMs: number; cost: number }[]): number {
  let state: BucketState | undefined;
  let admitted = 0;
  for (const { atMs, cost } of requests) {
    const taken = takeTokens(limits, state, atMs, cost);
    state = taken.state;
    if (taken.decision.admitted) admitted += cost;
  }
  return admitted;
}

describe('takeTokens', () => {
  it('admits 50 of 60 simultaneous requests', () => {
    expect(admittedOf(Array.from({ length: 60 }, () => ({ atMs: 0, cost: 1 })))).toBe(50);
  });

  it('admits a batch larger than the bucket when it is full, and then works off the debt', () => {
    const batch = takeTokens(limits, undefined, 0, 110);
    expect(batch.decision.admitted).toBe(true);
    expect(batch.state.tokens).toBe(-60);
    const refused = takeTokens(limits, batch.state, 60_000, 1);
    expect(refused.decision.admitted).toBe(false);
    expect(refused.decision.retryAfterSeconds).toBeCloseTo(11 / limits.refillPerSecond);
    expect(takeTokens(limits, refused.state, 73_200, 1).decision.admitted).toBe(true);
  });

  it('refuses a batch larger than the bucket while the bucket is not full', () => {
    const { state } = takeTokens(limits, undefined, 0, 1);
    expect(takeTokens(limits, state, 0, 110).decision.admitted).toBe(false);
  });

  it('counts tokens that were paid before, and keeps them after a refusal', () => {
    const first = takeTokens(limits, undefined, 0, 1);
    expect(takeTokens(limits, first.state, 0, 110, 1).decision.admitted).toBe(true);
    expect(takeTokens(limits, first.state, 0, 50, 1).state.tokens).toBe(0);
    const empty = { tokens: 3, atMs: 0 };
    expect(takeTokens(limits, empty, 0, 10, 1)).toMatchObject({ state: { tokens: 3 }, decision: { admitted: false } });
  });

  it('accepts a refund, also into a debt, but never exceeds the capacity', () => {
    const batch = takeTokens(limits, undefined, 0, 110);
    expect(takeTokens(limits, batch.state, 0, -109)).toMatchObject({
      state: { tokens: 49 },
      decision: { admitted: true },
    });
    expect(takeTokens(limits, undefined, 0, -5).state.tokens).toBe(50);
  });

  it('never admits more than the bucket and its refill, plus one debt', () => {
    const requests = fc.array(
      fc.record({ gapMs: fc.integer({ min: 0, max: 5_000 }), cost: fc.integer({ min: 1, max: 80 }) }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(requests, (list) => {
        let atMs = 0;
        const timed = list.map(({ gapMs, cost }) => ({ atMs: (atMs += gapMs), cost }));
        const largest = Math.max(0, ...list.map(({ cost }) => cost - limits.capacity));
        expect(admittedOf(timed)).toBeLessThanOrEqual(
          limits.capacity + (atMs / 1000) * limits.refillPerSecond + largest + 1e-6,
        );
      }),
    );
  });

  it('keeps its retry time for a request that pays one token on each arrival', () => {
    const arrive = (state: BucketState, atMs: number, cost: number) => {
      const arrival = takeTokens(limits, state, atMs, 1);
      return arrival.decision.admitted ? takeTokens(limits, arrival.state, atMs, cost, 1) : arrival;
    };
    const tokens = fc.double({ min: -100, max: 50, noNaN: true });
    fc.assert(
      fc.property(tokens, fc.integer({ min: 2, max: 120 }), (before, cost) => {
        let { state, decision } = arrive({ tokens: before, atMs: 0 }, 0, cost);
        // The first retry time may count only the token of the arrival; the second one counts the whole cost.
        for (let told = 0; !decision.admitted; told++) {
          expect(told).toBeLessThan(2);
          const later = state.atMs + decision.retryAfterSeconds * 1_000 + 1;
          ({ state, decision } = arrive(state, later, cost));
        }
      }),
    );
  });

  it('returns a retry time at which the same request is admitted', () => {
    const state = fc.record({ tokens: fc.double({ min: -100, max: 50, noNaN: true }), atMs: fc.constant(0) });
    fc.assert(
      fc.property(state, fc.integer({ min: 1, max: 120 }), (before, cost) => {
        const { state: after, decision } = takeTokens(limits, before, 0, cost);
        if (decision.admitted) return;
        const later = decision.retryAfterSeconds * 1_000 + 1;
        expect(takeTokens(limits, after, later, cost).decision.admitted).toBe(true);
      }),
    );
  });
});
