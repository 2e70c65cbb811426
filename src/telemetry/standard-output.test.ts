import { expect, test } from 'vitest';
import { createStandardOutput } from './standard-output.ts';

test('the rest of a line is written as soon as a full pipe has room', () => {
  let written = '';
  let refusals = 0;
  const output = createStandardOutput((_fd, bytes, offset) => {
    if (refusals++ % 2 === 0) throw Object.assign(new Error('full'), { code: 'EAGAIN' });
    const part = Buffer.from(bytes).subarray(offset, offset + 7);
    written += part.toString('latin1');
    return part.length;
  });
  const startMs = performance.now();
  output.write('{"msg":"first"}\n');
  output.write('{"msg":"second"}\n');
  expect(written).toBe('{"msg":"first"}\n{"msg":"second"}\n');
  expect(performance.now() - startMs).toBeLessThan(100);
});

test('lines are dropped without an error if there is no reader', () => {
  let calls = 0;
  const output = createStandardOutput(() => {
    calls++;
    throw Object.assign(new Error('nobody reads'), { code: 'EPIPE' });
  });
  output.write('{"msg":"first"}\n');
  output.write('{"msg":"second"}\n');
  expect(calls).toBe(1);
});

test('lines that are logged together are written with one call', () => {
  const calls: string[] = [];
  const output = createStandardOutput((_fd, bytes) => {
    calls.push(Buffer.from(bytes).toString());
    return bytes.length;
  });
  output.together(() => {
    output.write('{"msg":"first"}\n');
    output.write('{"msg":"second"}\n');
    expect(calls).toEqual([]);
  });
  output.write('{"msg":"third"}\n');
  expect(calls).toEqual(['{"msg":"first"}\n{"msg":"second"}\n', '{"msg":"third"}\n']);
});

test('lines that are logged together are written even if the work fails, and many lines are written before its end', () => {
  const sizes: number[] = [];
  const output = createStandardOutput((_fd, bytes) => sizes.push(bytes.length) && bytes.length);
  const work = (): void => {
    for (let i = 0; i < 300; i++) output.write('x'.repeat(1_000));
    throw new Error('broken');
  };
  expect(() => output.together(work)).toThrow('broken');
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(300_000);
  expect(Math.max(...sizes)).toBeLessThan(70_000);
});
