import { setImmediate } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { gatherByTurn } from './gathered-output.ts';
import { createLogger, type Logger } from './logger.ts';

let written: string[][];
let log: Logger;

beforeEach(() => {
  written = [];
  const messagesOf = (lines: string): string[] =>
    lines
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
  log = createLogger('info', {}, gatherByTurn({ write: (lines) => void written.push(messagesOf(lines)) }));
});

describe('gatherByTurn', () => {
  it('writes the lines of one turn of the event loop together, in their order', async () => {
    log.info('one');
    log.info('two');
    expect(written).toEqual([]);
    await setImmediate();
    log.info('three');
    await setImmediate();
    expect(written).toEqual([['one', 'two'], ['three']]);
  });

  it('writes a warning and all earlier lines before the call returns', async () => {
    log.info('before');
    log.warn('warning');
    log.fatal('the end');
    expect(written).toEqual([['before', 'warning'], ['the end']]);
    await setImmediate();
    expect(written).toHaveLength(2);
  });

  it('writes at once when the gathered lines are large', () => {
    log.info('x'.repeat(70_000));
    expect(written).toHaveLength(1);
  });

  it('writes the remaining lines when the process ends', () => {
    const listener = process.listeners('exit').at(-1) as () => void;
    log.info('last words');
    listener();
    expect(written).toEqual([['last words']]);
  });
});
