import { atOnce, type Steps } from '../lifecycle/slices.ts';

/** Returns the same text for the same JSON value, in whatever order its members are. Leaves out undefined members. */
export function canonicalJson(value: unknown): string {
  return atOnce(canonicalSteps(value));
}

/** The work can be interrupted after this many values. */
const STRIDE = 1_000;

/** Does the same in steps, because a payload may have a hundred thousand values. */
export function* canonicalSteps(value: unknown, count = { left: STRIDE }): Steps<string> {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const parts: string[] = [];
  if (Array.isArray(value)) {
    for (const item of value) {
      if (isTimeToYield(count)) yield;
      parts.push(isLeaf(item) ? JSON.stringify(item) : yield* canonicalSteps(item, count));
    }
    return `[${parts.join(',')}]`;
  }
  const object = value as Readonly<Record<string, unknown>>;
  const names = Object.keys(object).toSorted();
  // Sorting many names takes milliseconds and cannot be interrupted.
  if (names.length >= STRIDE) yield;
  for (const name of names) {
    if (isTimeToYield(count)) yield;
    const member = object[name];
    if (member === undefined) continue;
    const text = isLeaf(member) ? JSON.stringify(member) : yield* canonicalSteps(member, count);
    parts.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${parts.join(',')}}`;
}

function isTimeToYield(count: { left: number }): boolean {
  if (--count.left > 0) return false;
  count.left = STRIDE;
  return true;
}

function isLeaf(value: unknown): boolean {
  return typeof value !== 'object' || value === null;
}
