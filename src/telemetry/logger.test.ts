import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { makeSecret } from '../core/access/secret.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createLogger, logTogether, withoutRedaction, type Logger } from './logger.ts';
import { createStandardOutput } from './standard-output.ts';

/** Returns an error in the form in which the log shows it. */
function logged(err: unknown): Record<string, unknown> {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  createLogger('info', {}, stream).warn({ err }, 'test');
  return (JSON.parse(text) as { err: Record<string, unknown> }).err;
}

/** Returns the text of all lines that `write` logs, at the lowest level. */
function writtenBy(write: (log: Logger) => void): string {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  write(createLogger('trace', {}, stream));
  return text;
}

describe('a secret', () => {
  const { id, text } = makeSecret(randomBytes);

  it('is never written, only its public id', () => {
    const written = writtenBy((log) => {
      log.trace({ key: text, nested: { header: `Bearer ${text}` } }, `given ${text}`);
      withoutRedaction(log).info({ path: `/tasks?key=${text}` }, 'request');
      log.child({ bound: text }).error({ err: new Error(`refused ${text}`, { cause: new Error(text) }) }, 'failed');
    });
    expect(written.split('\n')).toHaveLength(4);
    expect(written).toContain(`sch_${id}_(hidden)`);
    expect(written).not.toContain(text.slice(13, 21));
  });
});

describe('an error in the log', () => {
  it('shows its type and its origin', () => {
    const error = Object.assign(new Error('connect ECONNREFUSED', { cause: new Error('the reason') }), {
      code: 'ECONNREFUSED',
      syscall: 'connect',
      port: 5432,
    });
    expect(logged(error)).toMatchObject({ type: 'Error', code: 'ECONNREFUSED', syscall: 'connect', port: 5432 });
    expect(logged(error)['message']).toBe('connect ECONNREFUSED: the reason');
    expect(logged(error)['stack']).toContain('logger.test.ts');
  });

  it('does not repeat the message of a cause that the message already contains', () => {
    const cause = new StoreUnavailableError('redis', new Error('read ECONNRESET'));
    const error = new Error('no beat', { cause });
    expect(logged(cause)['message']).toBe('redis is unavailable: read ECONNRESET');
    expect(logged(error)['message']).toBe('no beat: redis is unavailable: read ECONNRESET');
    cause.cause = error;
    expect(logged(error)['message']).toBe('no beat: redis is unavailable: read ECONNRESET');
  });

  it('says why a request failed even if only the parts of its cause say it', () => {
    const refused = (address: string) => new Error(`connect ECONNREFUSED ${address}`);
    const cause = new AggregateError([refused('::1:9'), refused('127.0.0.1:9')]);
    const error = new TypeError('fetch failed', { cause });
    expect(logged(error)['message']).toBe('fetch failed: connect ECONNREFUSED ::1:9: connect ECONNREFUSED 127.0.0.1:9');
    expect(logged(cause)['message']).toBe('connect ECONNREFUSED ::1:9: connect ECONNREFUSED 127.0.0.1:9');
  });

  it('has a limited size for deep, wide, long and circular causes', () => {
    let deep = new Error('0');
    for (let i = 1; i <= 100; i++) deep = new Error(`${i}${'x'.repeat(100)}`, { cause: deep });
    const wide = new AggregateError(Array.from({ length: 1_000 }, (_, i) => new Error(String(i))));
    const long = new Error('x'.repeat(100_000));
    const round = new AggregateError([], 'round');
    round.errors.push(round, new AggregateError([round], 'other', { cause: round }));
    round.cause = round;
    for (const error of [deep, wide, long, round]) {
      expect(JSON.stringify(logged(error)).length).toBeLessThan(120_000);
    }
  });

  it('never shows what a driver adds to it: commands with passwords, rows with payloads', () => {
    const refused = Object.assign(new Error('WRONGPASS'), {
      command: { name: 'hello', args: ['3', 'AUTH', 'default', 'hunter2'] },
    });
    const row = Object.assign(new Error('violates check'), {
      code: '23514',
      constraint: 'tasks_check',
      detail: 'Failing row contains (hunter2)',
      where: 'JSON data, line 1: hunter2',
    });
    const cluster = Object.assign(new Error('no node answers'), { lastNodeError: refused });
    for (const error of [refused, row, cluster, new AggregateError([refused, row], 'both')]) {
      expect(JSON.stringify(logged(error))).not.toContain('hunter2');
    }
    expect(logged(row)).toMatchObject({ code: '23514', constraint: 'tasks_check' });
    expect(JSON.stringify(logged(cluster))).toContain('WRONGPASS');
    expect(JSON.stringify(logged(new AggregateError([refused], 'one')))).toContain('WRONGPASS');
  });

  it('may be any value that can be thrown', () => {
    expect(logged('a text')).toBe('a text');
    expect(logged(undefined)).toBeUndefined();
  });
});

describe('lines of a batch', () => {
  it('are written with one call, with the fields of their parent', () => {
    const calls: string[] = [];
    const output = createStandardOutput((_fd, bytes) => calls.push(Buffer.from(bytes).toString()) && bytes.length);
    const log = withoutRedaction(createLogger('info', {}, output).child({ worker_id: 'w' }));
    logTogether(log, () => {
      log.info({ task_id: '1' }, 'settled');
      log.info({ task_id: '2' }, 'settled');
    });
    expect(calls).toHaveLength(1);
    const lines = calls[0]
      ?.trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([
      { worker_id: 'w', task_id: '1', level: 'info' },
      { worker_id: 'w', task_id: '2' },
    ]);
  });

  it('are written one by one if the destination cannot write them together', () => {
    const lines: string[] = [];
    const log = createLogger('info', {}, { write: (line) => void lines.push(line) });
    logTogether(log, () => log.info('settled'));
    expect(lines).toHaveLength(1);
  });
});

it('redacts payloads by default', () => {
  const lines: string[] = [];
  const log = createLogger('info', {}, { write: (line) => void lines.push(line) });
  log.info({ payload: 'secret', context: { payload: 'secret' } }, 'test');
  expect(lines.join('')).not.toContain('secret');
});
