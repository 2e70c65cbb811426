import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Problem } from './problem.ts';
import { findFaults, isExact, parseBody } from './request-body.ts';

function problemOf(body: string | Uint8Array, depthMax = 64): Problem {
  try {
    parseBody(typeof body === 'string' ? Buffer.from(body) : body, depthMax);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error('the body was accepted');
}

const faultsOf = (text: string) => findFaults(text, 64).map(({ path, code }) => [path, code]);

describe('parseBody', () => {
  it('takes any JSON as JSON.parse does', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(parseBody(Buffer.from(text), 1_000)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('keeps members named like those of every object', () => {
    const text = '{"__proto__":{"a":1},"constructor":2}';
    expect(JSON.stringify(parseBody(Buffer.from(text), 64))).toBe(text);
  });

  it.each([
    ['{"a": }', `Unexpected token '}', "{"a": }" is not valid JSON`],
    ['{"a": 1,}', 'at position 8 (line 1 column 9)'],
    ['{"a": [1, 2', 'at position 11 (line 1 column 12)'],
    ['', 'Unexpected end of JSON input'],
    ['nonsense', 'is not valid JSON'],
  ])('refuses %j as malformed, with the place', (text, detail) => {
    const problem = problemOf(text);
    expect(problem).toMatchObject({ status: 400, code: 'malformed_json' });
    expect(problem.message).toContain(detail);
  });

  it('refuses bytes that are not UTF-8, and takes a real replacement character', () => {
    expect(problemOf(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({ status: 400, code: 'malformed_json' });
    expect(problemOf(Buffer.from([0x22, 0xf0, 0x9f, 0x98, 0x22])).status).toBe(400);
    expect(problemOf(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])).status).toBe(400);
    expect(parseBody(Buffer.from('"\u{FFFD}"'), 64)).toBe('\u{FFFD}');
  });

  it('refuses deep nesting without building it', () => {
    expect(parseBody(Buffer.from('['.repeat(64) + ']'.repeat(64)), 64)).toBeInstanceOf(Array);
    expect(problemOf('['.repeat(65) + ']'.repeat(65)).errors).toMatchObject([{ code: 'nesting_too_deep' }]);
    expect(problemOf('{"a":'.repeat(4_000_000), 4).errors).toMatchObject([
      { path: '/a/a/a/a', code: 'nesting_too_deep' },
    ]);
  });

  it('refuses more objects and arrays than are worth their memory, before they are built', () => {
    const most = `[${'[],'.repeat(999_998)}[]]`;
    expect(findFaults(most, 64)).toEqual([]);
    expect(findFaults(`${most.slice(0, -1)},{}]`, 64)).toMatchObject([{ path: '/999999', code: 'too_many_parts' }]);
    const cut = `[${'[],'.repeat(2_000_000)}`;
    expect(() => parseBody(Buffer.from(cut), 64)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });

  it('refuses more members of one object than the parser takes in a moment', () => {
    const most = Array.from({ length: 100_000 }, (_, i) => `"k${i}":0`).join();
    expect(findFaults(`{"a":{${most}}}`, 64)).toEqual([]);
    expect(problemOf(`{"a":{${most},"b":0,"c":0}}`).errors).toMatchObject([{ path: '/a/b', code: 'too_many_members' }]);
  });

  it('does not count brackets inside strings', () => {
    expect(parseBody(Buffer.from(JSON.stringify({ a: '[['.repeat(100), b: '"[{\\' })), 1)).toBeTruthy();
  });
});

describe('findFaults', () => {
  it('names every number that would change, with its path', () => {
    expect(faultsOf('{"a":[1,12345678901234567890],"b/c":{"~":1e400},"d":0.1}')).toEqual([
      ['/a/1', 'inexact_number'],
      ['/b~1c/~0', 'inexact_number'],
    ]);
    expect(findFaults('[9007199254740993]', 64)[0]).toMatchObject({ given: '9007199254740993' });
  });

  it('finds members named twice, however they are written', () => {
    expect(faultsOf('{"a":1,"b":{"a":2,"\\u0061":3},"a":4}')).toEqual([
      ['/b/a', 'duplicate_member'],
      ['/a', 'duplicate_member'],
    ]);
    expect(faultsOf('[{"a":1},{"a":2}]')).toEqual([]);
  });

  it('finds nothing in what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        expect(findFaults(JSON.stringify(value), 64)).toEqual([]);
      }),
    );
  });

  it('ends on any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'{}[]",:\\-0e.1a '.split('')) }),
        (text) => void findFaults(text, 8),
      ),
    );
  });
});

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

  it('is quick about hostile digits', () => {
    const before = performance.now();
    expect(isExact(`0.${'0'.repeat(300_000)}1${'0'.repeat(300_000)}1`)).toBe(false);
    expect(performance.now() - before).toBeLessThan(1_000);
  });
});
