import { describe, expect, it } from 'vitest';
import { recordError } from '../recorded-error.ts';
import { messageWithoutFramePaths, stackWithoutPaths } from './stack-paths.ts';

describe('stackWithoutPaths', () => {
  it.each([
    ['    at run (/srv/my app/dist/run.js:10:5)', '    at run (run.js:10:5)'],
    ['    at async file:///srv/app/run.js:10:5', '    at async run.js:10:5'],
    ['    at file:///srv/app/run.js:1:1', '    at run.js:1:1'],
    ['    at async Foo.bar [as baz] (file:///srv/a(b)/run.js:1:1)', '    at async Foo.bar [as baz] (run.js:1:1)'],
    ['at run (/srv/app/run.js:1:1)', 'at run (run.js:1:1)'],
    ['    at run (/srv/app/run.js:1:1)\r', '    at run (run.js:1:1)\r'],
    ['    at new Run (/srv/app/run.js:1:1)', '    at new Run (run.js:1:1)'],
    ['    at /srv/my (app)/run.js:1:1', '    at run.js:1:1'],
    // Windows
    ['    at C:\\app\\dist\\run.js:1:1', '    at run.js:1:1'],
    ['    at run (C:\\app\\dist\\run.js:1:1)', '    at run (run.js:1:1)'],
    ['    at C:\\Users\\me (x)\\app (y)\\run.js:1:1', '    at run.js:1:1'],
    ['    at run (file:///C:/app/dist/run.js:1:2)', '    at run (run.js:1:2)'],
    ['    at run (\\\\server\\my share\\run.js:1:1)', '    at run (run.js:1:1)'],
    ['    at run (file://server/share/run.js:1:1)', '    at run (run.js:1:1)'],
    ['\\\\server\\share\\run.js:3', 'run.js:3'],
    ['Error: EPERM: open "C:\\Users\\me you\\k.pem"', 'Error: EPERM: open "k.pem"'],
    // Bundlers
    ['    at run (webpack://app/./src/run.js:1:2)', '    at run (run.js:1:2)'],
    ['    at run (webpack-internal:///./src/run.js:1:2)', '    at run (run.js:1:2)'],
    ['    at Object../src/index.js (/srv/app/main.js:1:1)', '    at Object../src/index.js (main.js:1:1)'],
    ['    at run (src/app/run.js:1:1)', '    at run (run.js:1:1)'],
    // eval
    [
      '    at eval (eval at run (/srv/app/run.js:1:1), <anonymous>:1:1)',
      '    at eval (eval at run (run.js:1:1), <anonymous>:1:1)',
    ],
    ['    at eval (eval at run (/srv/a/run.js:1:1), /srv/b/gen.js:2:2)', '    at eval (eval at run (gen.js:2:2)'],
    [
      '    at eval (eval at a (eval at b (/srv/app/b.js:1:1), <anonymous>:1:1), <anonymous>:1:1)',
      '    at eval (eval at a (eval at b (b.js:1:1), <anonymous>:1:1), <anonymous>:1:1)',
    ],
    // Node
    [
      '    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
      '    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
    ],
    ['    at async node:internal/main:1:1', '    at async node:internal/main:1:1'],
    ['    at async Promise.all (index 0)', '    at async Promise.all (index 0)'],
    ['    at new Promise (<anonymous>)', '    at new Promise (<anonymous>)'],
    // Other languages and engines
    ['run@/srv/app/run.js:1:2', 'run@run.js:1:2'],
    ['run@file:///srv/app/run.js:1:2', 'run@run.js:1:2'],
    ['  File "/srv/app/run.py", line 3, in run', '  File "run.py", line 3, in run'],
    ['\t/srv/app/main.go:12 +0x1b', '\tmain.go:12 +0x1b'],
    ['   at Foo.Bar() in C:\\app\\foo.cs:line 12', '   at Foo.Bar() in foo.cs:line 12'],
    ['    at com.foo.Bar.baz(Bar.java:12)', '    at com.foo.Bar.baz(Bar.java:12)'],
    // Prose
    ['file:///srv/app/handlers.mjs:3', 'handlers.mjs:3'],
    ['Error: file:/srv/app/run.js', 'Error: run.js'],
    ["Error: ENOENT: no such file, open '/etc/app/key.pem'", "Error: ENOENT: no such file, open 'key.pem'"],
    ['Error: open \'/srv/my app/key.pem\' and "/x y/z.js"', 'Error: open \'key.pem\' and "z.js"'],
    ["Error: can't open /srv/app/a.js, can't", "Error: can't open a.js, can't"],
    ['Error: cause:/srv/app/key', 'Error: cause:key'],
    ['/srv/a(b)/run.js:1', 'run.js:1'],
    ['Error: GET http://host:80/a/b failed, see /srv/app/log', 'Error: GET http://host:80/a/b failed, see log'],
    ['Error: GET /tasks failed', 'Error: GET /tasks failed'],
    ['Error: 3/4 of and/or', 'Error: 3/4 of and/or'],
    ['at least 3/4 of it', 'at least 3/4 of it'],
    // What was cut off when it was recorded may end within the name of a directory.
    ['    at run (/srv/app/di…', '    at run (…'],
    ['Error: open /srv/app/di…', 'Error: open …'],
    ["Error: open '/srv/my app/di…", "Error: open '…"],
    ['Error: open /srv/app/a.js failed bec…', 'Error: open a.js failed bec…'],
  ])('%s', (line, shown) => {
    expect(stackWithoutPaths(line)).toBe(shown);
    expect(stackWithoutPaths(`Error: x\n${line}\n    at f (/srv/a.js:1:1)`)).toBe(
      `Error: x\n${shown}\n    at f (a.js:1:1)`,
    );
  });

  it('hides the directory of real stack traces, of causes, parts and evaluated code too', () => {
    const evaluated = (): Error => {
      try {
        // oxlint-disable-next-line no-eval -- its frames have a form of their own
        return (0, eval)('(() => { throw new Error("from eval") })()') as Error;
      } catch (error) {
        return error as Error;
      }
    };
    const {
      stack = '',
      cause,
      errors,
    } = recordError(new AggregateError([new Error('part')], 'whole', { cause: evaluated() }));
    for (const text of [stack, cause?.stack ?? '', errors?.[0]?.stack ?? '']) {
      expect(text).toContain(import.meta.dirname);
      expect(stackWithoutPaths(text)).not.toContain(import.meta.dirname);
      expect(stackWithoutPaths(text)).toContain('stack-paths.test.ts');
    }
  });

  it('takes a bounded time for a text that is made to be slow', () => {
    const lines = ["'/a", '/a', '"/a b\'/c ', '(/', ' /a', "    at '/a"].map((part) =>
      part.repeat(4_000).slice(0, 4_000),
    );
    for (const line of [...lines, ...lines.map((text) => `${text}…`)]) {
      const before = process.threadCpuUsage();
      stackWithoutPaths(line);
      expect(process.threadCpuUsage(before).user / 1_000).toBeLessThan(100);
    }
  });
});

describe('messageWithoutFramePaths', () => {
  it('hides directories in a stack trace within the message, and leaves the rest as it was written', () => {
    const message = [
      'the call failed: Error: open /srv/app/x',
      '    at f (/srv/app/f.js:1:1)',
      '    at async g (C:\\app\\g.js:1:1)',
      'at /srv/app/h.js:2:3',
      '    at k (/srv/app/di…',
      'at the place /srv/app/y',
      '  at /srv/app/z it says so',
    ];
    expect(messageWithoutFramePaths(message.join('\n')).split('\n')).toEqual([
      'the call failed: Error: open /srv/app/x',
      '    at f (f.js:1:1)',
      '    at async g (g.js:1:1)',
      'at h.js:2:3',
      '    at k (…',
      'at the place /srv/app/y',
      '  at /srv/app/z it says so',
    ]);
    expect(messageWithoutFramePaths('/srv/app/x')).toBe('/srv/app/x');
  });
});
