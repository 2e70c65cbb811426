import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FieldError } from '../../json/field-error.ts';
import { JsonScan } from '../../json/json-scan.ts';
import { Payload } from '../../json/json-text.ts';
import { atOnce } from '../../lifecycle/slices.ts';
import { Problem } from '../problem.ts';
import { parseBody, type BodyShape, type GivenBody } from './request-body.ts';

const read = (body: string | Buffer, depthMax = 64, shape: BodyShape = 'plain'): GivenBody =>
  atOnce(parseBody(Buffer.from(body as string), depthMax, shape));

const valueOf = (body: string | Buffer, depthMax?: number): unknown => read(body, depthMax).value;

function problemOf(body: string | Buffer, depthMax = 64, shape: BodyShape = 'plain'): Problem {
  try {
    read(body, depthMax, shape);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error('the body was accepted');
}

const NOBODY = { begin: () => {}, end: () => {}, token: () => {} };

function faultsIn(text: string, depthMax = 64): readonly FieldError[] {
  const scan = new JsonScan(Buffer.from(text), depthMax, NOBODY);
  atOnce(scan.run());
  return scan.faults;
}

const faultsOf = (text: string) => faultsIn(text).map(({ path, code }) => [path, code]);

describe('parseBody', () => {
  it('reads any JSON as JSON.parse does', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(valueOf(text, 1_000)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('accepts exactly the texts that JSON.parse accepts', () => {
    const isJson = (text: string): boolean => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    const anything = fc.string({ unit: fc.constantFrom(...'{}[]",:\\-+0e.1a \n\tntrue/u"'.split(''), 'é', '\u0001') });
    // A JSON text with some characters removed or inserted is closer to valid JSON than random text.
    const almost = fc.tuple(
      fc.jsonValue(),
      fc.nat(),
      fc.constantFrom('', '"', ',', '}', '0', '.', '\\', ' '),
      fc.nat(2),
    );
    const spoilt = almost.map(([value, at, put, out]) => {
      const text = JSON.stringify(value, null, at % 3);
      const place = at % (text.length + 1);
      return text.slice(0, place) + put + text.slice(place + out);
    });
    fc.assert(
      fc.property(fc.oneof(anything, spoilt), (text) => {
        let problem: Problem | null = null;
        try {
          read(text, 1_000);
        } catch (error) {
          problem = error as Problem;
        }
        const refused = problem?.code === 'malformed_json';
        expect([text, refused]).toEqual([text, !isJson(text.toWellFormed())]);
      }),
      { numRuns: 3_000 },
    );
  });

  it('keeps members named like properties of Object.prototype', () => {
    const text = '{"__proto__":{"a":1},"constructor":2}';
    expect(JSON.stringify(valueOf(text))).toBe(text);
  });

  it.each([
    ['{"a": }', 'expected a value, found "}" at position 6 (line 1 column 7)'],
    ['{"a": 1,}', 'expected the name of a member, found "}" at position 8 (line 1 column 9)'],
    ['{"a": [1, 2', 'expected a comma or the end of the object or array, found the end of the body at position 11'],
    ['{"é":\n1 2}', 'expected a comma or the end of the object or array, found "2" at position 8 (line 2 column 3)'],
    ['{"😀": "\n', 'expected no control characters in a string, found "\\n" at position 8 (line 1 column 9)'],
    ['["😀",\n\n "é", x]', 'expected a value, found "x" at position 14 (line 3 column 7)'],
    ['', 'expected a value, found the end of the body at position 0 (line 1 column 1)'],
    ['nonsense', 'expected a value, found "n" at position 0'],
    ['[1] x', 'expected nothing more, found "x" at position 4'],
    ['"a\nb"', 'expected no control characters in a string, found "\\n" at position 2'],
    ['"\\x"', 'behind a backslash, found "x" at position 2'],
    ['"\\u00g0"', 'expected four hexadecimal digits, found "g" at position 5'],
    ['[01]', 'expected a comma or the end of the object or array, found "1" at position 2'],
    ['-', 'expected a digit, found the end of the body at position 1'],
    ['[1}', 'expected a comma or the end of the object or array, found "}" at position 2'],
  ])('refuses %j as malformed, and reports the position', (text, detail) => {
    const problem = problemOf(text);
    expect(problem).toMatchObject({ status: 400, code: 'malformed_json' });
    expect(problem.message).toContain(detail);
  });

  it('refuses bytes that are not UTF-8, and accepts a real replacement character', () => {
    expect(problemOf(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({ status: 400, code: 'malformed_json' });
    expect(problemOf(Buffer.from([0x22, 0xf0, 0x9f, 0x98, 0x22])).status).toBe(400);
    expect(problemOf(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])).status).toBe(400);
    expect(valueOf('"\u{FFFD}"')).toBe('\u{FFFD}');
    expect(valueOf('\u{FEFF}[1]')).toEqual([1]);
  });

  it('refuses deep nesting without building it', () => {
    expect(valueOf('['.repeat(64) + ']'.repeat(64))).toBeInstanceOf(Array);
    expect(problemOf('['.repeat(65) + ']'.repeat(65)).errors).toMatchObject([{ code: 'nesting_too_deep' }]);
    expect(problemOf('{"a":'.repeat(4_000_000), 4).errors).toMatchObject([
      { path: '/a/a/a/a', code: 'nesting_too_deep' },
    ]);
  });

  it('refuses more objects and arrays than a handler should build', () => {
    const most = `[${'[],'.repeat(999_998)}[]]`;
    expect(faultsIn(most)).toEqual([]);
    expect(faultsIn(`${most.slice(0, -1)},{}]`)).toMatchObject([{ path: '/999999', code: 'too_many_parts' }]);
    const cut = `[${'[],'.repeat(2_000_000)}`;
    expect(problemOf(cut).code).toBe('invalid_request');
  });

  const members = (count: number) => Array.from({ length: count }, (_, i) => `"k${i}":0`).join();

  it('refuses an object with more members than can be parsed quickly', () => {
    expect(faultsIn(`{"a":{${members(100_000)}}}`)).toEqual([]);
    expect(problemOf(`{"a":{${members(100_000)},"b":0}}`).errors).toMatchObject([
      { path: '/a/b', code: 'too_many_members' },
    ]);
  });

  it('bounds the number of member names in all open objects together', () => {
    expect(problemOf(`{${members(70_000)},"n":`.repeat(3)).errors).toMatchObject([{ code: 'too_many_members' }]);
  });

  it('refuses a long text outside of payloads, which would be parsed in one go', () => {
    expect(problemOf(`{"a":"${'x'.repeat(300_000)}"}`).code).toBe('body_too_large');
    expect(problemOf(`{"payload":1,"a":"${'x'.repeat(300_000)}"}`, 64, 'task').code).toBe('body_too_large');
  });

  it('shortens a long name in the path of an error', () => {
    const [error] = problemOf(`{"${'n'.repeat(5_000)}":1e400}`).errors;
    expect(error?.path).toBe(`/${'n'.repeat(199)}…`);
  });

  it('does not count brackets inside strings', () => {
    expect(valueOf(JSON.stringify({ a: '[['.repeat(100), b: '"[{\\' }), 1)).toBeTruthy();
  });
});

describe('payloads', () => {
  const payloadOf = (text: string): Payload => (read(text, 66, 'task').value as { payload: Payload }).payload;

  it.each([
    ['{"b":1,"2":2,"1":3}'],
    ['[1.0,1e2,-0,1E+2,100000000000000000000]'],
    ['{"a":"\\u0041\\/","b":"A/"}'],
    ['"\\ud800"'],
    ['{"é":"\u{1F600}"}'],
    ['null'],
    ['[]'],
  ])('keeps %s unchanged', (text) => {
    expect(payloadOf(`{"payload":${text},"queue":"q"}`)).toMatchObject({ text, bytes: Buffer.byteLength(text) });
  });

  it('drops white space between tokens, and nothing else', () => {
    const text = '{"a b":" c ","d":[1,2,{"é":true}]}';
    const spaced = `\n{ "payload" : ${JSON.stringify(JSON.parse(text), null, '\t')} ,\r\n"queue":"q" } `;
    expect(payloadOf(spaced)).toMatchObject({ text, bytes: Buffer.byteLength(text) });
  });

  it('has the same text for a JSON value with any spacing', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(4), (value, indent) => {
        const given = read(JSON.stringify({ x: 1, payload: value, y: [2] }, null, indent), 1_000, 'task').value;
        expect(given).toMatchObject({ x: 1, y: [2], payload: { text: JSON.stringify(value) } });
      }),
    );
  });

  it.each([
    ['{"action":"mail","a":1}', 'mail'],
    ['{"a":{"action":"x"},"\\u0061ction" : "m\\u0061il"}', 'mail'],
    ['{"a":{"action":"x"}}', undefined],
    ['["action","x"]', undefined],
    ['{"action":7}', 7],
    ['{"action":null}', null],
    ['{"action":{"action":"x"}}', {}],
  ])('reads the action in %s', (text, action) => {
    expect(payloadOf(`{"payload":${text}}`).action).toEqual(action);
  });

  it('is read only at the place that the shape names', () => {
    expect(read('{"a":{"payload":1},"payload":2}', 64, 'task').value).toMatchObject({
      a: { payload: 1 },
      payload: { text: '2' },
    });
    expect(read('[{"payload":1}]', 64, 'task').value).toEqual([{ payload: 1 }]);
    expect(read('{"payload":1}', 64, 'plain').value).toEqual({ payload: 1 });
  });

  it('of an array of tasks are read one by one', () => {
    const shape = { member: 'tasks', most: 3 };
    const { value, items } = read(
      '{"x":1,"tasks":[{"payload":[1, 2],"q":2},5,{"a":{"payload":1}}],"y":{"tasks":[]}}',
      64,
      shape,
    );
    expect(value).toEqual({ x: 1, tasks: [], y: { tasks: [] } });
    expect(items).toEqual([{ payload: new Payload('[1,2]', 5, undefined), q: 2 }, 5, { a: { payload: 1 } }]);
    expect(read(`{"tasks":[${'0,'.repeat(99)}0]}`, 64, shape).items).toHaveLength(4);
    expect(read('{"tasks":{"payload":1}}', 64, shape)).toEqual({ value: { tasks: { payload: 1 } }, items: null });
    expect(read('{"tasks":[]}', 64, shape)).toEqual({ value: { tasks: [] }, items: [] });
  });
});

describe('the faults of a body', () => {
  it('report every number that would change, with its path', () => {
    expect(faultsOf('{"a":[1,12345678901234567890],"b/c":{"~":1e400},"d":0.1}')).toEqual([
      ['/a/1', 'inexact_number'],
      ['/b~1c/~0', 'inexact_number'],
    ]);
    expect(faultsIn('[9007199254740993]')[0]).toMatchObject({ given: '9007199254740993' });
  });

  it('report duplicate members, even if they are written with escapes', () => {
    expect(faultsOf('{"a":1,"b":{"a":2,"\\u0061":3},"a":4}')).toEqual([
      ['/b/a', 'duplicate_member'],
      ['/a', 'duplicate_member'],
    ]);
    expect(faultsOf('[{"a":1},{"a":2}]')).toEqual([]);
    const many = Array.from({ length: 20 }, (_, i) => `"k${i}":0`).join();
    expect(faultsOf(`{${many},"k0":1,"k19":1}`)).toEqual([
      ['/k0', 'duplicate_member'],
      ['/k19', 'duplicate_member'],
    ]);
  });

  it('do not occur in the output of JSON.stringify', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        expect(faultsIn(JSON.stringify(value))).toEqual([]);
      }),
    );
  });
});
