import { describe, expect, it } from 'vitest';
import { arrayLiteral } from './array-literal.ts';

describe('arrayLiteral', () => {
  it('writes ids, numbers and nulls as PostgreSQL reads them', () => {
    expect(arrayLiteral([])).toBe('{}');
    expect(arrayLiteral([1, -2.5, 1e21, null])).toBe('{1,-2.5,1e+21,NULL}');
    expect(arrayLiteral(['019a5b3c-8f00-7000-8000-0123456789ab', null])).toBe(
      '{019a5b3c-8f00-7000-8000-0123456789ab,NULL}',
    );
  });

  it.each(['', 'NULL', 'a,b', '{', '"', 'x\\', Number.NaN, Number.POSITIVE_INFINITY])('refuses %j', (value) => {
    expect(() => arrayLiteral([value])).toThrow(RangeError);
  });
});
