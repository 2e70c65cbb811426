import { describe, expect, it } from 'vitest';
import { parseRedactionPath, PATH_LENGTH_MAX, PATH_STEPS_MAX } from './redaction-path.ts';

const child = (key: string | number) => ({ kind: 'child', key });
const below = (key: string) => ({ kind: 'below', key });
const every = { kind: 'every' };

describe('parseRedactionPath', () => {
  it.each([
    ['$', []],
    ['$.card.number', [child('card'), child('number')]],
    ['$._a1.größe.名前', [child('_a1'), child('größe'), child('名前')]],
    ["$['odd name']", [child('odd name')]],
    ['$["odd name"].x', [child('odd name'), child('x')]],
    ["$['']", [child('')]],
    [String.raw`$['it\'s "so"']`, [child('it\'s "so"')]],
    [String.raw`$["it's \"so\""]`, [child('it\'s "so"')]],
    [String.raw`$['a\\']['\\\'b']`, [child('a\\'), child(String.raw`\'b`)]],
    [String.raw`$['n\u0075mber\n\/']`, [child('number\n/')]],
    ["$['__proto__']", [child('__proto__')]],
    ["$['0']", [child('0')]],
    ['$[0][10]', [child(0), child(10)]],
    ['$.items[*].sku', [child('items'), every, child('sku')]],
    ['$.*', [every]],
    ['$..password', [below('password')]],
    ["$.a..['b c'].d", [child('a'), below('b c'), child('d')]],
  ])('reads %s', (text, steps) => {
    expect(parseRedactionPath(text)).toEqual({ text, steps });
  });

  it.each([
    ['', 'position 1: expected `$`'],
    ['card.number', 'position 1: expected `$`'],
    ['@.a', 'position 1: expected `$`'],
    [' $.a', 'position 1: expected `$`'],
    ['$a', 'position 2: expected `.`, `..`, `[` or the end'],
    ['$.a b', 'position 4: expected `.`, `..`, `[` or the end'],
    ['$.a ', 'position 4: expected'],
    ['$.', 'position 3: expected a name or `*`'],
    ['$.1a', 'position 3: expected a name or `*`'],
    ['$.a-b', 'position 4: expected'],
    ['$.a..', 'position 6: expected a name'],
    ['$..*', 'position 4: expected a name'],
    ['$...a', 'position 4: expected a name'],
    ['$..[0]', 'position 5: expected a name in quotes'],
    ['$..[*]', 'position 5: expected a name in quotes'],
    ["$..['a'", 'position 8: expected `]`'],
    ['$.card[', 'position 8: expected a name in quotes, an index from 0'],
    ['$[]', 'position 3: expected a name in quotes'],
    ['$[-1]', 'position 3: expected a name in quotes'],
    ['$[01]', 'position 3: expected a name in quotes'],
    ['$[99999999999]', 'position 3: expected a name in quotes'],
    ['$[1:2]', 'position 4: expected `]`'],
    ['$[0,1]', 'position 4: expected `]`'],
    ["$['a','b']", 'position 6: expected `]`'],
    ['$[ 0]', 'position 3: expected a name in quotes'],
    ['$[?@.a]', 'position 3: expected a name in quotes'],
    ["$['a]", 'position 3: expected a name in quotes'],
    [String.raw`$['\x']`, 'position 3: expected a name in quotes'],
    ["$['a\nb']", 'position 3: expected a name in quotes'],
    ['$.length()', 'position 9: expected'],
  ])('refuses %j: %s', (text, problem) => {
    expect(parseRedactionPath(text)).toContain(problem);
  });

  it('refuses paths that are too long', () => {
    expect(parseRedactionPath(`$${'.a'.repeat(PATH_STEPS_MAX)}`)).toMatchObject({ steps: { length: PATH_STEPS_MAX } });
    expect(parseRedactionPath(`$${'.a'.repeat(PATH_STEPS_MAX + 1)}`)).toBe('expected at most 64 steps, it has 65');
    expect(parseRedactionPath(`$.${'a'.repeat(PATH_LENGTH_MAX)}`)).toBe(
      'expected at most 1000 characters, it has 1002',
    );
  });
});
