import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { startWithinJsonBytes } from './json-bytes.ts';

const jsonBytes = (text: string): number => Buffer.byteLength(JSON.stringify(text)) - 2;

/** Characters of every length in JSON. Two of them can form a surrogate pair. */
const CHARACTERS = ['a', '"', '\\', '\0', '\n', '\x1f', '\x7f', 'é', '€', '😀', '\ud83d', '\ude00', '\uffff'];

describe('startWithinJsonBytes', () => {
  it.each([
    ['abc', 2, 'ab'],
    ['abc', 3, 'abc'],
    ['\u0001\u0001', 11, '\u0001'],
    ['\n"\\', 5, '\n"'],
    ['é😀x', 5, 'é'],
    ['é😀x', 6, 'é😀'],
    ['€', 2, ''],
    ['\ud800x', 6, '\ud800'],
    ['a', 0, ''],
  ])('returns the beginning of %j within %i bytes: %j', (text, maxBytes, expected) => {
    expect(startWithinJsonBytes(text, maxBytes)).toBe(expected);
  });

  it('returns the longest beginning that fits', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...CHARACTERS)), fc.nat(60), (characters, maxBytes) => {
        const text = characters.join('');
        const start = startWithinJsonBytes(text, maxBytes);
        const [next] = text.slice(start.length);
        const fits = text.startsWith(start) && jsonBytes(start) <= maxBytes;
        return fits && (next === undefined || jsonBytes(start + next) > maxBytes);
      }),
    );
  });
});
