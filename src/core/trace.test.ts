import { describe, expect, it } from 'vitest';
import { traceOf } from './trace.ts';

const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const hex = (bytes: number) => 'ab'.repeat(bytes);

describe('traceOf', () => {
  it('takes the id from X-Trace-ID and also keeps the traceparent', () => {
    expect(traceOf({ traceId: 'my-trace.1', traceparent: parent }, hex)).toEqual({
      traceId: 'my-trace.1',
      traceparent: parent,
    });
  });

  it('takes the id from traceparent if there is no X-Trace-ID', () => {
    expect(traceOf({ traceparent: parent }, hex)).toEqual({
      traceId: '0af7651916cd43dd8448eb211c80319c',
      traceparent: parent,
    });
  });

  it.each([
    {},
    { traceId: 'two words' },
    { traceId: 'x'.repeat(65) },
    { traceparent: '00-00000000000000000000000000000000-b7ad6b7169203331-01' },
    { traceparent: `ff${parent.slice(2)}` },
    { traceparent: 'nonsense' },
  ])('begins a new trace for %j', (headers) => {
    const trace = traceOf(headers, hex);
    expect(trace.traceId).toBe('ab'.repeat(16));
    expect(trace.traceparent).toBe(`00-${'ab'.repeat(16)}-${'ab'.repeat(8)}-01`);
  });
});
