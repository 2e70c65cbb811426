/**
 * Returns a PostgreSQL array literal of ids and numbers. Such values need no quotes; `pg` would escape each of them.
 * @throws RangeError on a number that is not finite
 */
export function arrayLiteral(values: readonly (string | number | null)[]): string {
  return `{${values.map(elementOf).join(',')}}`;
}

function elementOf(value: string | number | null): string | number {
  if (value === null) return 'NULL';
  if (typeof value === 'number' ? Number.isFinite(value) : BARE.test(value)) return value;
  throw new RangeError(`expected an id or a finite number; given ${value}`);
}

/** The characters of an id. The word NULL does not match. */
const BARE = /^[0-9a-f-]+$/;
