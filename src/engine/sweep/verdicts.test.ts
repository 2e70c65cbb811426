import { describe, expect, it } from 'vitest';
import { API_STANDS_IN_AFTER_MS } from '../../config/timings.ts';
import { pauseAfter } from '../../reclaimer/reclaimer.ts';
import { isDue, lookInterval } from '../../reclaimer/stand-in.ts';
import { podOf } from './reclaim/pod-evidence.ts';
import { judge } from './reclaim/reclaim.ts';
import { emptyResult, type SweepResult } from './sweep-result.ts';

const result = (changes: Partial<SweepResult>): SweepResult => ({ ...emptyResult('worker'), ...changes });

describe('isDue', () => {
  const look = (idleMs: number | null, free = true) => ({ holder: 'w', free, idleMs });

  it('returns true when the last pass was three seconds ago, but never while the lease is held', () => {
    expect(isDue(look(2_900), null, 'worker')).toBe(false);
    expect(isDue(look(3_000), null, 'worker')).toBe(true);
    expect(isDue(look(null), null, 'worker')).toBe(true);
    expect(isDue(look(60_000, false), null, 'worker')).toBe(false);
  });

  it('waits longer in an API process than in a worker', () => {
    expect(isDue(look(4_900), null, 'api')).toBe(false);
    expect(isDue(look(5_000), null, 'api')).toBe(true);
    expect(isDue(look(60_000, false), null, 'api')).toBe(false);
    expect(isDue(look(1_000), result({ silent: true }), 'api')).toBe(true);
  });

  it('returns true sooner after an own pass that saw a silent worker or did not finish', () => {
    expect(isDue(look(1_000), result({ silent: true }), 'worker')).toBe(true);
    expect(isDue(look(1_000), result({}), 'worker')).toBe(false);
    expect(isDue(look(0), result({ more: true }), 'worker')).toBe(true);
  });
});

/** The promised bound, and the default of the setting. */
const RECOVERY_BOUND_MS = 15_000;
const HEARTBEAT_TTL_MS = 10_000;

describe('lookInterval', () => {
  it('grows with the number of workers, but stays short enough for a single stand-in to notice in time', () => {
    expect([0, 1, 10, 100, 10_000].map(lookInterval)).toEqual([1_000, 1_000, 3_000, 3_000, 3_000]);
    // After the time to live has passed, the interval with its jitter still fits into the recovery bound.
    expect(1.5 * lookInterval(10_000)).toBeLessThan(RECOVERY_BOUND_MS - HEARTBEAT_TTL_MS);
    // If only API processes are left, a beat is late after 3.3 s, and their next look notices that.
    expect(3_300 + API_STANDS_IN_AFTER_MS + 1.5 * lookInterval(10_000)).toBeLessThan(RECOVERY_BOUND_MS);
  });
});

describe('pauseAfter', () => {
  it('is short while a worker is silent, and 0 while a duty is not finished', () => {
    expect(pauseAfter(null, 2_000)).toBe(2_000);
    expect(pauseAfter(result({}), 2_000)).toBe(2_000);
    expect(pauseAfter(result({ silent: true }), 2_000)).toBe(1_000);
    expect(pauseAfter(result({ silent: true }), 500)).toBe(500);
    expect(pauseAfter(result({ silent: true, more: true }), 2_000)).toBe(0);
  });
});

describe('judge', () => {
  const settings = { HEARTBEAT_TTL: 10_000, HEARTBEAT_INTERVAL: 3_000 };
  const pod = '0a1b2c3d-0000-4000-8000-000000000001';

  it('recognizes a pod only by its UID, because host names are reused', () => {
    expect(podOf(`${pod}.aaaa`)).toBe(pod);
    expect(podOf('worker-0.aaaa')).toBeNull();
    expect(podOf(pod)).toBeNull();
  });

  it('presumes only candidates dead, and only after the time to live', () => {
    const silences = [
      { workerId: 'a', silentMs: 10_001, lastBeatMs: 1 },
      { workerId: 'b', silentMs: 10_000, lastBeatMs: 1 },
      { workerId: 'idle', silentMs: 99_999, lastBeatMs: 1 },
    ];
    expect(judge(silences, new Set(['a', 'b']), settings)).toMatchObject([{ workerId: 'a', evidence: 'silence' }]);
  });

  it('accepts a later process of the same pod as evidence only if it has beaten and the older one missed a beat', () => {
    const older = (silentMs: number) => ({ workerId: `${pod}.old`, silentMs, lastBeatMs: 1_000 });
    const newer = (lastBeatMs: number | null) => ({ workerId: `${pod}.new`, silentMs: 0, lastBeatMs });
    const held = new Set([`${pod}.old`]);
    expect(judge([older(5_000), newer(5_000)], held, settings)).toMatchObject([{ evidence: 'successor' }]);
    expect(judge([older(3_000), newer(5_000)], held, settings)).toEqual([]);
    expect(judge([older(5_000), newer(null)], held, settings)).toEqual([]);
    expect(judge([older(5_000), newer(900)], held, settings)).toEqual([]);
  });
});
