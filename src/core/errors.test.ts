import { describe, expect, it } from 'vitest';
import { storableText } from './errors.ts';

describe('storableText', () => {
  it('does not cut a surrogate pair in half', () => {
    expect(storableText('ab😀cd', 4).isWellFormed()).toBe(true);
  });
});
