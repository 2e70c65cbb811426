import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/**
 * The part of a statement that takes lost attempts back, logs them and buries their tasks: SQL cannot share it between
 * statements.
 */
function lostAttempts(file: string, { worker, error }: { readonly worker: string; readonly error: string }): string {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8');
  const [part] = /\bended AS \([\s\S]*(?=\n\)\nSELECT )/.exec(text) ?? [];
  if (part === undefined) throw new Error(`${file} logs and buries nothing`);
  return part.replaceAll(worker, '<worker>').replaceAll(error, '<error>');
}

it('a worker that gives up its own attempt logs and buries it as the sweeper does', () => {
  const bySweeper = lostAttempts('reclaim.sql', { worker: '$3::text', error: '$6::json' });
  expect(bySweeper).toContain('<worker>');
  for (const table of ['finished', 'attempts', 'dlq']) expect(bySweeper).toContain(`INSERT INTO ${table} (`);
  expect(lostAttempts('../../attempts/reclaim-own.sql', { worker: '$1::text', error: '$5::json' })).toBe(bySweeper);
});
