import { describe, expect, it } from 'vitest';
import { recordError } from '../recorded-error.ts';
import { ANYBODY } from './client.ts';
import { projectionOf, stackWithoutPaths } from './projection.ts';
import type { Scope } from './scopes.ts';

const seenWith = (...scopes: Scope[]) => projectionOf({ scopes: new Set(scopes) });

const stored = JSON.stringify({
  name: 'TypeError',
  message: 'card 4111 refused',
  code: 'E_CARD',
  stack: 'TypeError: card 4111 refused\n    at pay (/srv/app/pay.js:1:2)',
  cause: { name: 'Error', message: 'secret cause', code: 7, stack: '/srv/app/x.js:3' },
  errors: [{ name: 'Error', message: 'secret part' }],
  more: { secret: 'of another version' },
});

describe('projectionOf', () => {
  it('without `payload`, hides contents and leaves class and code of errors', () => {
    const seen = seenWith('read');
    expect([seen.contents, seen.mark, seen.content('{"a":1}'), seen.content(null)]).toEqual([
      false,
      { redacted: true },
      null,
      null,
    ]);
    expect(JSON.parse(seen.error(stored) ?? '')).toEqual({
      name: 'TypeError',
      code: 'E_CARD',
      cause: { name: 'Error', code: 7 },
      errors: [{ name: 'Error' }],
    });
    expect(seen.error(null)).toBeNull();
  });

  it.each(['"a text"', '[1]', '{"name":{"a":"b"},"code":["c"],"message":"m","errors":"d"}', '3', 'null'])(
    'without `payload`, shows nothing of the unexpected error %s',
    (text) => {
      expect(seenWith('read', 'admin').error(text)).toMatch(/^(null|\{\})$/);
    },
  );

  it('with `payload`, shows contents and texts, but paths only with `admin`', () => {
    const seen = seenWith('read', 'payload');
    expect([seen.contents, seen.mark, seen.content('{"a":1}')]).toEqual([true, {}, '{"a":1}']);
    expect(JSON.parse(seen.error(stored) ?? '')).toMatchObject({
      message: 'card 4111 refused',
      stack: 'TypeError: card 4111 refused\n    at pay (pay.js:1:2)',
      cause: { message: 'secret cause', stack: 'x.js:3' },
      errors: [{ message: 'secret part' }],
    });
    expect(seenWith('read', 'payload', 'admin').error(stored)).toBe(stored);
    expect(projectionOf(ANYBODY).error(stored)).toBe(stored);
  });

  it('ends at errors that are nested too deeply, which could not be written otherwise', () => {
    const deep = `${'{"name":"E","cause":'.repeat(50_000)}null${'}'.repeat(50_000)}`;
    expect(seenWith('read').error(deep)?.length).toBeLessThan(1_000);
  });
});

describe('stackWithoutPaths', () => {
  it.each([
    ['    at run (/srv/my app/dist/run.js:10:5)', '    at run (run.js:10:5)'],
    ['    at async file:///srv/app/run.js:10:5', '    at async run.js:10:5'],
    ['    at file:///srv/app/run.js:1:1', '    at run.js:1:1'],
    ['    at async Foo.bar [as baz] (file:///srv/a(b)/run.js:1:1)', '    at async Foo.bar [as baz] (run.js:1:1)'],
    ['    at C:\\app\\dist\\run.js:1:1', '    at run.js:1:1'],
    ['    at run (C:\\app\\dist\\run.js:1:1)', '    at run (run.js:1:1)'],
    ['    at eval (eval at run (/srv/app/run.js:1:1), <anonymous>:1:1)', '    at eval (run.js:1:1), <anonymous>:1:1)'],
    [
      '    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
      '    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
    ],
    ['    at async node:internal/main:1:1', '    at async node:internal/main:1:1'],
    ['    at async Promise.all (index 0)', '    at async Promise.all (index 0)'],
    ['file:///srv/app/handlers.mjs:3', 'handlers.mjs:3'],
    ["Error: ENOENT: no such file, open '/etc/app/key.pem'", "Error: ENOENT: no such file, open 'key.pem'"],
    ['Error: GET http://host/a/b failed', 'Error: GET http://host/a/b failed'],
    ['  File "/srv/app/run.py", line 3, in run', '  File "run.py", line 3, in run'],
    ['Error: 3/4 of and/or', 'Error: 3/4 of and/or'],
  ])('%s', (line, shown) => {
    expect(stackWithoutPaths(line)).toBe(shown);
  });

  it('hides the directory of a real stack trace', () => {
    const { stack = '' } = recordError(new Error('here'));
    expect(stack).toContain(import.meta.dirname);
    expect(stackWithoutPaths(stack)).not.toContain(import.meta.dirname);
    expect(stackWithoutPaths(stack)).toContain('projection.test.ts');
  });
});
