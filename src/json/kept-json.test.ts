import { describe, expect, test } from 'vitest';
import { isDeeperThan, KEPT_DEPTH_MAX, keptJson } from './kept-json.ts';

const nested = (levels: number): unknown => {
  let value: unknown = 'core';
  for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { 'a"[{': value };
  return value;
};
const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
const throwing = (thrown: unknown) => ({
  toJSON() {
    throw thrown;
  },
});
const unreadable = Object.defineProperty(new Error('x'), 'message', {
  get() {
    throw new Error('from a getter');
  },
});
const endless = {
  toJSON: (): unknown => ({ endless }),
};

describe('keptJson', () => {
  test.each([
    [undefined, null],
    [null, 'null'],
    ['\0 \u{1F600}', '"\\u0000 \u{1F600}"'],
    ['\ud800', '"\\ud800"'],
    [{ a: undefined, b: Number.NaN }, '{"b":null}'],
    [nested(KEPT_DEPTH_MAX), JSON.stringify(nested(KEPT_DEPTH_MAX))],
  ])('keeps the JSON text of a value (%#)', (value, json) => {
    expect(keptJson('it', value, 10_000)).toEqual({ json });
  });

  test.each([
    ['not_serialisable', 1n, /BigInt/],
    ['not_serialisable', cycle, /circular/],
    ['not_serialisable', () => 1, /it is a function/],
    ['not_serialisable', Symbol('s'), /it is a symbol/],
    ['not_serialisable', throwing(new Error('no')), /: no$/],
    ['not_serialisable', throwing(unreadable), /could not be read/],
    ['not_serialisable', throwing('x'.repeat(100_000)), /x…$/],
    ['too_large', 'ü'.repeat(50), /has 102 bytes as JSON; at most 100 are kept/],
    ['too_deep', nested(KEPT_DEPTH_MAX + 1), /deeper than 64 levels/],
    ['too_deep', nested(200_000), /deeper than 64 levels/],
    ['too_deep', endless, /deeper than 64 levels/],
  ] as const)('says why a value cannot be kept: %s (%#)', (notKept, value, message) => {
    const bytesMax = notKept === 'too_large' ? 100 : 1_000_000;
    const kept = keptJson('it', value, bytesMax);
    expect(kept).toMatchObject({ notKept, message: expect.stringMatching(message) });
    expect((kept as { message: string }).message.length).toBeLessThan(1_100);
  });
});

test('isDeeperThan counts only brackets outside of strings', () => {
  const text = JSON.stringify([['[[[[\\"[', '\\', '"{{{{', { a: [] }]]);
  expect([2, 3, 4, 5].map((most) => isDeeperThan(most, text))).toEqual([true, true, false, false]);
});
