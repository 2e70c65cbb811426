import { describe, expect, it } from 'vitest';
import { describeStray } from './stray-errors.ts';

const SECRET = 'card 4111-1111';

describe('describeStray', () => {
  it('contains name, code and stack frames of an error, but not its message', () => {
    const described = describeStray(Object.assign(new TypeError(SECRET), { code: 'E_CARD' }));
    expect(described).toMatchObject({ error_name: 'TypeError', error_code: 'E_CARD' });
    expect(described.frames?.[0]).toContain('stray-errors.test.ts');
    expect(JSON.stringify(described)).not.toContain(SECRET);
  });

  it('is not deceived by a message that looks like a stack', () => {
    const described = describeStray(
      new Error(`no\n    at ${SECRET} (file:///a.ts:1:2)\n    at b (file:///${SECRET}:3:4)`),
    );
    expect(JSON.stringify(described)).not.toContain(SECRET);
    expect(described.frames?.[0]).toContain('stray-errors.test.ts');
  });

  it.each([
    ['a text', SECRET, { error_name: 'string' }],
    ['an object', { payload: SECRET }, { error_name: 'object' }],
    ['nothing', undefined, { error_name: 'undefined' }],
    [
      'a long code',
      Object.assign(new Error(SECRET), { code: SECRET.repeat(20), stack: SECRET }),
      { error_name: 'Error', frames: [] },
    ],
    ['an error that cannot be read', new Proxy(new Error(SECRET), {}), expect.any(Object)],
  ])('hides the content of %s', (_, thrown, expected) => {
    const described = describeStray(thrown);
    expect(described).toEqual(expected);
    expect(JSON.stringify(described)).not.toContain(SECRET);
  });
});
