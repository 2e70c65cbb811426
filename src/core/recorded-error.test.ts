import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FinalError } from './errors.ts';
import { codeIn, recordError } from './recorded-error.ts';

describe('recordError', () => {
  it('keeps name, message, code and stack', () => {
    const recorded = recordError(new FinalError('no such customer', { code: 'unknown_customer' }));
    expect(recorded).toMatchObject({ name: 'FinalError', message: 'no such customer', code: 'unknown_customer' });
    expect(recorded.stack).toContain('recorded-error.test.ts');
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

  it('replaces characters that PostgreSQL would refuse, and cuts a long message', () => {
    const recorded = recordError(new Error(`a\0b\ud800${'c'.repeat(10_000)}`));
    expect(recorded.message.startsWith('a\u{FFFD}b\u{FFFD}ccc')).toBe(true);
    expect(recorded.message.length).toBe(4_000);
  });

  it('keeps a code that is a number, and drops codes of other types', () => {
    expect(recordError(Object.assign(new Error('x'), { code: 14 })).code).toBe(14);
    for (const code of [null, Number.NaN, {}, true]) {
      expect(recordError(Object.assign(new Error('x'), { code }))).not.toHaveProperty('code');
    }
  });

  it('keeps the cause of an error, even if the cause is not an error', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9'), { code: 'ECONNREFUSED' });
    const error = new TypeError('fetch failed', { cause: refused });
    expect(recordError(error)).toMatchObject({
      name: 'TypeError',
      message: 'fetch failed',
      cause: { name: 'Error', message: 'connect ECONNREFUSED 127.0.0.1:9', code: 'ECONNREFUSED' },
    });
    expect(recordError(new Error('x', { cause: { status: 5 } })).cause).toEqual({
      name: 'NonError',
      message: 'thrown value is not an Error: {"status":5}',
    });
    expect(recordError(new Error('x', { cause: null }))).not.toHaveProperty('cause');
  });

  it.each(['127.0.0.1', 'localhost'])(
    'shows the code and the address of a connection that was refused: %s',
    async (host) => {
      const [cause] = (await once(connect({ port: 1, host }), 'error')) as [Error];
      const recorded = recordError(new TypeError('fetch failed', { cause }));
      expect(recorded.message).toBe('fetch failed');
      expect(JSON.stringify(recorded)).toContain('connect ECONNREFUSED 127.0.0.1:1');
      expect(codeIn(recorded)).toBe('ECONNREFUSED');
    },
  );

  it('keeps the parts of an AggregateError', () => {
    const parts = [new Error('a'), new AggregateError([new Error('c')], 'b'), 'd'];
    expect(recordError(new AggregateError(parts, 'all'))).toMatchObject({
      message: 'all',
      errors: [{ message: 'a' }, { message: 'b', errors: [{ message: 'c' }] }, { name: 'NonError' }],
    });
  });

  it('limits the size of the record for deep, wide, long and circular causes', () => {
    let deep = new Error('0');
    for (let i = 1; i <= 100; i++) deep = new Error(String(i), { cause: deep });
    const wide = new AggregateError(Array.from({ length: 1_000 }, (_, i) => new Error(`${i}${'x'.repeat(3_000)}`)));
    const round = new Error('round');
    round.cause = new AggregateError([round, new Error('other', { cause: round })]);
    for (const error of [deep, wide, round, new AggregateError([deep, wide, round], 'all')]) {
      expect(JSON.stringify(recordError(error)).length).toBeLessThan(25_000);
    }
    expect(recordError(wide).errors).toHaveLength(8);
    expect(recordError(round)).toMatchObject({ cause: { errors: [{ message: 'other' }] } });
    expect(recordError(round).cause?.errors?.[0]).not.toHaveProperty('cause');
  });

  it('survives causes that cannot be read', () => {
    const hostile = new Error('x', {
      cause: new Proxy(new Error('y'), {
        get() {
          throw new Error('gotcha');
        },
      }),
    });
    expect(recordError(hostile)).toMatchObject({ message: 'x', cause: expect.any(Object) });
  });
});

describe('codeIn', () => {
  it('returns the nearest code', () => {
    const inner = Object.assign(new Error('inner'), { code: 'INNER' });
    const outer = Object.assign(new Error('outer', { cause: inner }), { code: 0 });
    expect(codeIn(recordError(outer))).toBe(0);
    expect(codeIn(recordError(new AggregateError([new Error('none'), inner])))).toBe('INNER');
    expect(codeIn(recordError(new Error('none')))).toBeUndefined();
  });
});
