import { Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { Durations } from './durations.ts';

const common = { name: 'seconds', help: 'h', labelNames: ['queue', 'outcome'] as const, buckets: [0.5, 1, 10] };
const values = [0, 0.25, 0.5, 0.75, 1, 2, 10, 11, 1e6];

test('writes the same text as the histogram of prom-client', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  const durations = new Durations({ ...common, registers: [ours] });
  const histogram = new Histogram({ ...common, labelNames: [...common.labelNames], registers: [theirs] });
  for (const labels of [
    { queue: 'a', outcome: 'completed' },
    { queue: 'a "b"\n', outcome: 'retried' },
    { queue: 'a', outcome: 'completed' },
  ]) {
    const series = durations.labels(labels);
    for (const value of values) {
      series.observe(value);
      histogram.observe(labels, value);
    }
  }
  const text = await ours.metrics();
  expect(text).toContain('seconds_bucket{le="1",queue="a",outcome="completed"} 10');
  expect(text).toBe(await theirs.metrics());
});

test('has no series before the first value, like the histogram of prom-client', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  void new Durations({ ...common, registers: [ours] });
  void new Histogram({ ...common, labelNames: [...common.labelNames], registers: [theirs] });
  expect(await ours.metrics()).toBe(await theirs.metrics());
});
