import { expect, it } from 'vitest';
import { search } from './search.ts';

/** The numbers from 1 up to `count`, of which every `nth` fits. A slice looks at ten numbers and takes one second. */
function numbers(count: number, nth: number) {
  let nowMs = 0;
  const read = async (from: number | null, most: number) => {
    nowMs += 1_000;
    const next = Array.from({ length: Math.min(10, count - (from ?? 0)) }, (_, i) => (from ?? 0) + i + 1);
    const rows = next.filter((row) => row % nth === 0).slice(0, most);
    return { rows, end: next.length === 10 ? (next.at(-1) ?? null) : null, bytes: rows.length };
  };
  const limits = { sliceRows: 10, searchMs: 3_000, clock: { monotonicMs: () => nowMs } };
  const page = (from: number | null, limit: number) => search(limits, from, limit, (row: number) => row, read);
  return { page, elapsedMs: () => nowMs };
}

it('ends with a full page, and knows whether another page follows', async () => {
  const { page } = numbers(12, 2);
  expect(await page(null, 2)).toEqual({ rows: [2, 4], next: 4 });
  expect(await page(4, 3)).toEqual({ rows: [6, 8, 10], next: 10 });
  expect(await page(10, 3)).toEqual({ rows: [12], next: null });
});

it('fills a page from several slices', async () => {
  expect(await numbers(25, 8).page(null, 3)).toEqual({ rows: [8, 16, 24], next: null });
});

it('ends when its time is over, at the last row that it looked at', async () => {
  const { page, elapsedMs } = numbers(1_000, 500);
  expect(await page(null, 5)).toEqual({ rows: [], next: 30 });
  expect(elapsedMs()).toBe(3_000);
  expect(await page(480, 5)).toEqual({ rows: [500], next: 510 });
});
