import { z } from 'zod';

/** Whether PostgreSQL's type `text` keeps it as it is. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/** A text to compare stored ones with. */
export const givenText = () => z.string().refine(isStorable, 'expected a text without NUL and lone surrogates');

/** What PostgreSQL takes as a distance from UTC. */
const OFFSET_HOURS_MAX = 15;

/** A time with its distance from UTC, of the years that ISO 8601 writes with four digits and PostgreSQL knows. */
export const givenTime = () =>
  z.iso
    .datetime({ offset: true })
    .refine(isStorableTime, `expected a time of the years 1 to 9999, less than ${OFFSET_HOURS_MAX + 1} hours from UTC`);

function isStorableTime(text: string): boolean {
  const year = new Date(text).getUTCFullYear();
  const offsetHours = Number(/[+-](\d\d):\d\d$/.exec(text)?.[1] ?? 0);
  return year >= 1 && year <= 9_999 && offsetHours <= OFFSET_HOURS_MAX;
}
