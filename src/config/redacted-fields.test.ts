import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { messageOf } from '../core/errors.ts';
import { readConfig } from './read-config.ts';

const required = { DATABASE_URL: 'postgresql://u:p@h/d', REDIS_URL: 'redis://h' };
const read = (env: Record<string, string>) => readConfig({ ...required, ...env });
function problemsOf(env: Record<string, string>): string {
  try {
    read(env);
  } catch (error) {
    return messageOf(error);
  }
  return '';
}

describe('REDACTED_FIELDS', () => {
  it('are paths by names and patterns of actions', () => {
    const text =
      '{"payment.charge": ["$.card.number", "$.items[*].sku"], "mail.*": ["$..to"], "*": ["$.password"], "größe 1": ["$"]}';
    expect(
      read({ REDACTED_FIELDS: text }).REDACTED_FIELDS.map(({ action, paths }) => [
        action,
        paths.map((path) => path.text),
      ]),
    ).toEqual([
      ['payment.charge', ['$.card.number', '$.items[*].sku']],
      ['mail.*', ['$..to']],
      ['*', ['$.password']],
      ['größe 1', ['$']],
    ]);
    expect(read({}).REDACTED_FIELDS).toEqual([]);
    expect(read({ REDACTED_FIELDS: '{}' }).REDACTED_FIELDS).toEqual([]);
  });

  it('may be in a file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'fields-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, 'fields.json');
    writeFileSync(path, '\n{"a": ["$.b"]}\n');
    expect(read({ REDACTED_FIELDS_FILE: path }).REDACTED_FIELDS).toMatchObject([{ action: 'a' }]);
    writeFileSync(path, '{"a": ["b"]}');
    expect(problemsOf({ REDACTED_FIELDS_FILE: path })).toContain('REDACTED_FIELDS: a: position 1: expected `$`');
    // An empty file is not taken for an empty setting, which would hide nothing.
    writeFileSync(path, '');
    expect(problemsOf({ REDACTED_FIELDS_FILE: path })).toContain('REDACTED_FIELDS: expected a JSON object');
    expect(problemsOf({ REDACTED_FIELDS_FILE: `${path}-missing` })).toContain('REDACTED_FIELDS_FILE: cannot read');
  });

  it('name the action, the path, the position and what was expected, of everything that is wrong', () => {
    const problems = problemsOf({
      REDACTED_FIELDS: '{"payment.charge": ["$.card[", "$.ok"], "mail": ["$..*"], "x.*y": [7]}',
    });
    expect(problems).toContain(
      'REDACTED_FIELDS: payment.charge: position 8: expected a name in quotes, an index from 0 to 9999999999, or `*`; given "$.card["',
    );
    expect(problems).toContain(
      'REDACTED_FIELDS: mail: position 4: expected a name, or [ and a name in quotes; given "$..*"',
    );
    expect(problems).toMatch(/REDACTED_FIELDS: expected the name of an action, a beginning such as .*; given "x\.\*y"/);
    expect(problems).toContain('REDACTED_FIELDS: x.*y: expected a path such as $.card.number; given 7');
  });

  it('are refused if paths could take long to follow, also those of several patterns together', () => {
    const paths = (from: number) => Array.from({ length: 10 }, (_, i) => `$..a${from + i}..b..c`);
    const few = JSON.stringify({ '*': paths(0).slice(0, 2), 'pay.*': paths(10).slice(0, 2) });
    expect(problemsOf({ REDACTED_FIELDS: few })).toBe('');
    const many = problemsOf({ REDACTED_FIELDS: JSON.stringify({ '*': paths(0), 'pay.*': ['$.a'], mail: ['$.b'] }) });
    for (const action of ['*', 'pay.*', 'mail'])
      expect(many).toContain(
        `REDACTED_FIELDS: ${action}: its paths lead to too many places, with those of other patterns`,
      );
  });

  it.each([
    ['{"a":', 'expected a JSON object such as'],
    ['[]', 'expected a JSON object such as'],
    ['null', 'expected a JSON object such as'],
    ['"a"', 'expected a JSON object such as'],
    ['{"a":"$.b"}', 'a: expected a list of 1 to 100 paths; given "$.b"'],
    ['{"a":[]}', 'a: expected a list of 1 to 100 paths; given "a list of 0"'],
    [JSON.stringify({ a: Array(101).fill('$.b') }), 'a: expected a list of 1 to 100 paths; given "a list of 101"'],
    [
      JSON.stringify(Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`a${i}`, ['$']]))),
      'expected at most 1000 actions; given 1001',
    ],
    ['{"":["$"]}', 'expected the name of an action'],
    [JSON.stringify({ ['a'.repeat(129)]: ['$'] }), 'expected the name of an action'],
    ['{"pay*":["$"]}', 'expected the name of an action'],
    // A parser would keep one of the two.
    [
      '{"a":["$.b"],"c":["$"],"\\u0061":["$.d"]}',
      'an action is listed twice; expected all its paths in one list; given "a"',
    ],
  ])('%.60s is refused', (text, problem) => {
    expect(problemsOf({ REDACTED_FIELDS: text })).toContain(`REDACTED_FIELDS: ${problem}`);
  });
});

describe('PRIVATE_METADATA', () => {
  it.each([
    ['', { all: false, names: [] }],
    ['customer, odd name,', { all: false, names: ['customer', 'odd name'] }],
    ['*', { all: true, names: [] }],
    ['a,*', { all: true, names: ['a'] }],
  ])('%j', (text, rules) => {
    expect(read({ PRIVATE_METADATA: text }).PRIVATE_METADATA).toEqual(rules);
  });

  it('refuses names that metadata cannot have', () => {
    expect(problemsOf({ PRIVATE_METADATA: `a,${'b'.repeat(129)}` })).toContain(
      'PRIVATE_METADATA: expected names of metadata',
    );
  });
});
