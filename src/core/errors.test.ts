import { describe, expect, it } from 'vitest';
import { FinalError, recordError, storableText } from './errors.ts';

describe('recordError', () => {
  it('keeps name, message, code and stack', () => {
    const recorded = recordError(new FinalError('no such customer', { code: 'unknown_customer' }));
    expect(recorded).toMatchObject({ name: 'FinalError', message: 'no such customer', code: 'unknown_customer' });
    expect(recorded.stack).toContain('errors.test.ts');
  });

  it.each([
    ['a text', 'a text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [{ a: 1 }, '{"a":1}'],
    [10n, '[object BigInt]'],
  ])('describes the thrown value %s', (thrown, expected) => {
    expect(recordError(thrown).message).toBe(`thrown value is not an Error: ${expected}`);
  });

  it('survives an error whose properties throw', () => {
    const hostile = new Error('x');
    Object.defineProperty(hostile, 'message', {
      get() {
        throw new Error('gotcha');
      },
    });
    expect(recordError(hostile).name).toBe('UnreadableError');
  });

  it('cleans and cuts what PostgreSQL would refuse', () => {
    const recorded = recordError(new Error(`a\0b\ud800${'c'.repeat(10_000)}`));
    expect(recorded.message.startsWith('a\u{FFFD}b\u{FFFD}ccc')).toBe(true);
    expect(recorded.message.length).toBe(4_000);
  });
});

describe('storableText', () => {
  it('does not cut a surrogate pair in half', () => {
    expect(storableText('ab😀cd', 4).isWellFormed()).toBe(true);
  });
});
