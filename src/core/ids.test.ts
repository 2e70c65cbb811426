import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdSource, idMilliseconds, isTaskId, lowestIdAt } from './ids.ts';

describe('createIdSource', () => {
  it('makes UUIDv7 whose text sorts in the order of creation, even if the clock jumps', () => {
    const clockReadings = fc.array(fc.integer({ min: 0, max: 2 ** 47 }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(clockReadings, (readings) => {
        let turn = 0;
        const source = createIdSource(() => readings[turn++ % readings.length] as number, randomBytes);
        const ids = Array.from({ length: 200 }, () => source.next('default'));
        expect(ids.every(isTaskId)).toBe(true);
        expect(ids.toSorted()).toEqual(ids);
        expect(new Set(ids).size).toBe(ids.length);
      }),
    );
  });

  it('puts the time of its clock into the id', () => {
    const source = createIdSource(() => 1_795_478_014_998.7, randomBytes);
    expect(idMilliseconds(source.next('default'))).toBe(1_795_478_014_998);
  });
});

describe('lowestIdAt', () => {
  it('is not above any id of its millisecond, and above every id of the millisecond before', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 47 }), (ms) => {
        expect(createIdSource(() => ms, randomBytes).next('default') >= lowestIdAt(ms)).toBe(true);
        expect(createIdSource(() => ms - 1, randomBytes).next('default') < lowestIdAt(ms)).toBe(true);
      }),
    );
  });
});

describe('isTaskId', () => {
  it.each([
    '',
    'x',
    '01A20AD4-4C16-7329-B884-4ED3D81E03BB',
    '01a20ad4-4c16-4329-b884-4ed3d81e03bb',
    '01a20ad44c167329b8844ed3d81e03bb',
  ])('refuses %j', (text) => {
    expect(isTaskId(text)).toBe(false);
  });
});
