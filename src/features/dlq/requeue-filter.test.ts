import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/** The condition on a dead letter, its parameters counted from 1: SQL has no way to share it between two statements. */
function filterOf(file: string, firstParameter: number): string {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8');
  const [, filter] = /\((requeued_at IS NULL[\s\S]*?)\) IS TRUE AS fits/.exec(text) ?? [];
  if (filter === undefined) throw new Error(`${file} has no filter`);
  // What the client sees are arguments of their own, behind all others.
  const [, visible] = /queue ~ \$(\d+)::text/.exec(filter) ?? [];
  const [, stacks] = /WHEN \$(\d+)::boolean/.exec(filter) ?? [];
  const own = new Map([
    [visible, '$visible'],
    [stacks, '$stacks'],
  ]);
  return filter.replaceAll(/\$(\d+)/g, (_, nth: string) => own.get(nth) ?? `$${Number(nth) - firstParameter + 1}`);
}

it('a dry run counts by the same filter by which a requeue takes', () => {
  const filter = filterOf('requeue.sql', 5);
  expect(filter).toContain('$6::text');
  expect(filter).toContain('($visible::text IS NULL OR queue ~ $visible::text)');
  expect(filter).toContain('WHEN $stacks::boolean THEN true');
  expect(filterOf('count-requeueable.sql', 4)).toBe(filter);
});
