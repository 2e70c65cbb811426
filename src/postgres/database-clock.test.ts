import { describe, expect, it } from 'vitest';
import { createDatabaseClock } from './database-clock.ts';
import type { Database } from './database.ts';

/** A database whose clock is `aheadMs` ahead of the monotonic clock. The whole delay of an answer is on its way back. */
function bench() {
  let monotonicMs = 1_000;
  let aheadMs = 500;
  const clock = createDatabaseClock(
    {
      run: async () => {
        const now_ms = monotonicMs + aheadMs;
        monotonicMs += answerMs;
        return [{ now_ms }];
      },
    } as unknown as Database,
    { nowMs: () => 0, monotonicMs: () => monotonicMs },
  );
  let answerMs = 0;
  return {
    async measure(takesMs: number) {
      answerMs = takesMs;
      await clock.runOnce();
      return Math.abs(clock.nowMs() - monotonicMs - aheadMs);
    },
    pass(ms: number) {
      monotonicMs += ms;
    },
    jump(ms: number) {
      aheadMs += ms;
    },
  };
}

describe('the clock of PostgreSQL', () => {
  it('accepts any first measurement, and then more accurate ones', async () => {
    const { measure } = bench();
    expect(await measure(2_000)).toBe(1_000);
    expect(await measure(4)).toBe(2);
  });

  it('ignores an answer that took long, which would give ids a wrong place in the order', async () => {
    const { measure, pass } = bench();
    await measure(2);
    pass(30_000);
    expect(await measure(5_000)).toBeLessThan(10);
  });

  it('follows a clock that was corrected, and a network that has become slow', async () => {
    const { measure, pass, jump } = bench();
    await measure(2);
    jump(3_000);
    pass(30_000);
    expect(await measure(4)).toBeLessThan(10);
    pass(3_600_000);
    jump(1_000);
    expect(await measure(200)).toBe(100);
  });
});
