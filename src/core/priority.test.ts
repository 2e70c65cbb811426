import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdSource, idMilliseconds } from './ids.ts';
import { idOfMember, memberOf, positionOf, scoreOf, type Position, type Priority } from './priority.ts';

const LATEST_MS = Date.UTC(2100, 0);

const position: fc.Arbitrary<Position> = fc
  .record({
    createdMs: fc.integer({ min: 0, max: LATEST_MS }),
    movedTo: fc.option(fc.integer({ min: 0, max: LATEST_MS }), { nil: undefined }),
    priority: fc.constantFrom<Priority>(1, 2, 3),
  })
  .map(({ createdMs, movedTo, priority }) => {
    const id = createIdSource(() => createdMs, randomBytes).next('default');
    return { id, priority, placeMs: movedTo ?? idMilliseconds(id) };
  });

/** The guaranteed order: priority, then place, then id. */
function compare(a: Position, b: Position): number {
  return a.priority - b.priority || a.placeMs - b.placeMs || (a.id < b.id ? -1 : Number(a.id > b.id));
}

/** The order inside a ZSET: score, then the bytes of the member. */
function compareInRedis(a: Position, b: Position): number {
  return scoreOf(a) - scoreOf(b) || Buffer.compare(Buffer.from(memberOf(a)), Buffer.from(memberOf(b)));
}

describe('scoreOf and memberOf', () => {
  it('order any two positions by (priority, place, id)', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        expect(Math.sign(compareInRedis(a, b))).toBe(Math.sign(compare(a, b)));
      }),
    );
  });

  it('order positions with the same place by id, whether a requeue moved them or not', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        const neighbour = { ...b, priority: a.priority, placeMs: a.placeMs };
        expect(Math.sign(compareInRedis(a, neighbour))).toBe(Math.sign(compare(a, neighbour)));
      }),
    );
  });

  it('give an exact integer', () => {
    fc.assert(fc.property(position, (a) => Number.isSafeInteger(scoreOf(a))));
  });

  it('name the place only if it was moved', () => {
    const id = createIdSource(() => 1_000, randomBytes).next('default');
    expect(memberOf({ id, priority: 2, placeMs: 1_000 })).toBe(`2:${id}`);
    expect(memberOf({ id, priority: 2, placeMs: 2_000 })).toBe(`2:${id}:2000`);
  });
});

describe('idOfMember', () => {
  it('returns the id of a member, and null for any other text', () => {
    fc.assert(fc.property(position, (a) => idOfMember(memberOf(a)) === a.id));
    const { id } = fc.sample(position, 1)[0] as Position;
    for (const text of ['', '2:', id, `4:${id}`, `2:${id}:`]) expect(idOfMember(text)).toBeNull();
  });
});

describe('positionOf', () => {
  it('is the inverse of memberOf', () => {
    fc.assert(
      fc.property(position, (a) => {
        expect(positionOf(memberOf(a))).toEqual(a);
      }),
    );
  });

  it.each(['', '4:01a20ad4-4c16-7329-b884-4ed3d81e03bb', '1:abc', '1:01a20ad4-4c16-7329-b884-4ed3d81e03bb:'])(
    'refuses %j',
    (text) => {
      expect(positionOf(text)).toBeNull();
    },
  );
});
