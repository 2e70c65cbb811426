import { expect, test } from 'vitest';
import { createStandardOutput } from './standard-output.ts';

test('a full pipe takes the rest of the line as soon as there is room', () => {
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

test('without a reader, lines are dropped and nothing is thrown', () => {
  let calls = 0;
  const output = createStandardOutput(() => {
    calls++;
    throw Object.assign(new Error('nobody reads'), { code: 'EPIPE' });
  });
  output.write('{"msg":"first"}\n');
  output.write('{"msg":"second"}\n');
  expect(calls).toBe(1);
});
