import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isExact } from './json-number.ts';

describe('isExact', () => {
  it.each([
    '0',
    '-0',
    '1',
    '-1.50',
    '1e2',
    '1E+2',
    '100000000000000000000',
    '1e22',
    '9007199254740992',
    '0.1',
    '1.7976931348623157e308',
    '5e-324',
    '0e999999999',
    '0.000001',
  ])('keeps %s', (source) => expect(isExact(source)).toBe(true));

  it.each([
    '9007199254740993',
    '1e23456',
    '0.1000000000000000055511151231257827',
    '1e-400',
    '123456789012345678',
    '4.9e-324',
    '-12345678901234567891',
  ])('would change %s', (source) => expect(isExact(source)).toBe(false));

  it('keeps every double as it is written', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(isExact(String(value))).toBe(true);
      }),
    );
  });

  it('is quick even for hundreds of thousands of digits', () => {
    const before = performance.now();
    expect(isExact(`0.${'0'.repeat(300_000)}1${'0'.repeat(300_000)}1`)).toBe(false);
    expect(performance.now() - before).toBeLessThan(1_000);
  });
});
