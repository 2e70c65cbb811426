import { expect, it } from 'vitest';
import { canonicalSteps } from './canonical-json.ts';

it.each([
  ['members', Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, 0]))],
  ['items', Array.from({ length: 10_000 }, () => 0)],
  ['objects', Array.from({ length: 10_000 }, () => ({}))],
])('the work can be interrupted among many %s', (_what, value) => {
  expect([...canonicalSteps(value)].length).toBeGreaterThanOrEqual(9);
});
