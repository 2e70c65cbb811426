import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/** The condition on a dead letter, its parameters counted from 1: SQL has no way to share it between two statements. */
function filterOf(file: string, firstParameter: number): string {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8');
  const [, filter] = /\((requeued_at IS NULL[\s\S]*?)\) IS TRUE AS fits/.exec(text) ?? [];
  if (filter === undefined) throw new Error(`${file} has no filter`);
  return filter.replaceAll(/\$(\d+)/g, (_, nth: string) => `$${Number(nth) - firstParameter + 1}`);
}

it('a dry run counts by the same filter by which a requeue takes', () => {
  const filter = filterOf('requeue.sql', 5);
  expect(filter).toContain('$6::text');
  expect(filterOf('count-requeueable.sql', 4)).toBe(filter);
});
