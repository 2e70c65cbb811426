import { z } from 'zod';

const EXPECTED = 'expected a time such as 2026-12-24T10:00:00Z or 2026-12-24T10:00:00+01:00 (RFC 3339)';

/** A time as in RFC 3339, 5.6. Seconds are optional, `T` and `Z` may be lower case, and a space may replace `T`. */
const TIME =
  /^(?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)[Tt ](?<hour>\d\d):(?<minute>\d\d)(?::(?<second>\d\d)(?:\.(?<fraction>\d+))?)?(?<offset>[Zz]|[+-]\d\d:\d\d)$/;

/** The digits of a second's fraction that PostgreSQL keeps. */
const FRACTION_DIGITS = 6;

/**
 * A schema for a time with its offset from UTC. The output is always in UTC and in one format:
 * 2026-12-24T09:00:00.000000Z. A leap second becomes the second after it. The year 0, which PostgreSQL does not know,
 * becomes the start of year 1.
 */
export const givenTime = () =>
  z
    .string()
    .transform((text, context) => {
      const read = readTime(text);
      if ('time' in read) return read.time;
      const { problem, code } = read;
      context.addIssue({ code: 'custom', message: `${EXPECTED}; ${problem}`, params: { code }, input: text });
      return z.NEVER;
    })
    .meta({ format: 'date-time' });

type Read = { readonly time: string } | { readonly problem: string; readonly code: 'invalid_format' | 'invalid_value' };

/** Reads a time. Returns the time in UTC, or what is wrong with the text. */
export function readTime(text: string): Read {
  const parts = TIME.exec(text)?.groups;
  if (parts === undefined) return { problem: problemOfForm(text), code: 'invalid_format' };
  const { offset = 'Z', fraction = '' } = parts;
  const [year, month, day, hour, minute, second] = ['year', 'month', 'day', 'hour', 'minute', 'second'].map((name) =>
    Number(parts[name] ?? 0),
  ) as [number, number, number, number, number, number];
  const offsetMinutes = minutesOf(offset);
  const atMs = utcMs(year, month, day) + ((hour * 60 + minute - offsetMinutes) * 60 + second) * 1_000;
  const problem =
    problemOfDate(year, month, day) ??
    problemOfClock(hour, minute, second, atMs) ??
    (Number.isNaN(offsetMinutes) ? 'an offset has hours from 00 to 23 and minutes from 00 to 59' : null) ??
    (atMs >= utcMs(10_000, 1, 1) ? 'in UTC it is after the year 9999' : null);
  if (problem !== null) return { problem, code: 'invalid_value' };
  if (atMs < utcMs(1, 1, 1)) return { time: '0001-01-01T00:00:00.000000Z' };
  // A leap second becomes the next second, and its fraction is dropped.
  const digits = (second === 60 ? '' : fraction).slice(0, FRACTION_DIGITS).padEnd(FRACTION_DIGITS, '0');
  return { time: `${new Date(atMs).toISOString().slice(0, 19)}.${digits}Z` };
}

/** Returns the milliseconds at which a day begins. `Date.UTC` would map the years 0 to 99 to 1900 to 1999. */
function utcMs(year: number, month: number, day: number): number {
  return new Date(0).setUTCFullYear(year, month - 1, day);
}

/** Returns the minutes of an offset, or NaN if there is no such offset. */
function minutesOf(offset: string): number {
  if (/^z$/i.test(offset)) return 0;
  const hours = Number(offset.slice(1, 3));
  const minutes = Number(offset.slice(4));
  return hours > 23 || minutes > 59 ? Number.NaN : (offset.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

function problemOfDate(year: number, month: number, day: number): string | null {
  if (month < 1 || month > 12) return 'a month is from 01 to 12';
  const days = new Date(utcMs(year, month + 1, 0)).getUTCDate();
  return day < 1 || day > days ? `this month has the days 01 to ${days}` : null;
}

/** @param atMs the time in milliseconds since 1970, or NaN if the offset is not valid */
function problemOfClock(hour: number, minute: number, second: number, atMs: number): string | null {
  if (hour === 24) return 'midnight is 00:00 of the next day, not 24:00';
  if (hour > 23) return 'an hour is from 00 to 23';
  if (minute > 59) return 'a minute is from 00 to 59';
  if (second < 60) return null;
  if (second > 60) return 'a second is from 00 to 59';
  // `atMs` is the second after the leap second. It has to be the first second of a month.
  return /-01T00:00:00/.test(Number.isNaN(atMs) ? '' : new Date(atMs).toISOString())
    ? null
    : 'a second 60 can only be the last one of a month in UTC';
}

const CLOCK = String.raw`\d\d:\d\d(:\d\d(\.\d+)?)?`;
const DATE_AND_CLOCK = String.raw`\d{4}-\d\d-\d\d[Tt ]${CLOCK}`;

/** Patterns of texts that do not have the form of a time, with the message for each. The first match counts. */
const PROBLEMS_OF_FORM: readonly (readonly [RegExp, string])[] = [
  [/^$/, 'it is empty'],
  [/^\s|\s$/, 'there is white space before or after it'],
  [/^[+-]?\d{9,}(\.\d+)?$/, 'a number of seconds or milliseconds is not taken'],
  [/^\d{4}-?W\d\d/i, 'a date by its week is not taken: write month and day'],
  [/^\d{4}-?\d{3}([Tt ]|$)/, 'a date by its day of the year is not taken: write month and day'],
  [/^\d\d-\d\d-\d\d([Tt ]|$)/, 'the year has to have four digits'],
  [/^[+-]\d+-/, 'the year has to have four digits, without a sign'],
  [/^\d{8}([Tt ]|$)/, 'the dashes within the date are missing'],
  [/^\d{4}-\d\d-\d\d$/, 'the time of day and the offset are missing'],
  [/^\d{4}-\d\d-\d\d[Zz+-]/, 'the time of day is missing'],
  [/^\d\d:\d\d/, 'the date is missing'],
  [/^\d{4}-\d\d-\d\d[Tt ]\d{4}/, 'the colons within the time of day are missing'],
  [/^\d{4}-\d\d-\d\d[Tt ]\d\d([Zz+-].*)?$/, 'the minutes are missing'],
  [new RegExp(`^${DATE_AND_CLOCK}$`), 'the offset from UTC is missing: Z for UTC itself, or one such as +01:00'],
  [new RegExp(`^${DATE_AND_CLOCK} \\d\\d:?\\d\\d$`), 'the sign of the offset is missing; in a URL, + is written %2B'],
  [new RegExp(`^${DATE_AND_CLOCK}\\s+([Zz]|[+-]\\d)`), 'there is white space before the offset'],
  [new RegExp(`^${DATE_AND_CLOCK}[+-]\\d{4}$`), 'the colon within the offset is missing'],
  [new RegExp(`^${DATE_AND_CLOCK}[+-]\\d\\d?$`), 'the minutes of the offset are missing'],
  [
    new RegExp(`^${DATE_AND_CLOCK}[\u2010-\u2015\u2212]`),
    'the sign of the offset has to be + or the ASCII character -',
  ],
  [/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d,\d/, 'a fraction of a second begins with a point'],
  [/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d\.([^\d]|$)/, 'the digits after the point are missing'],
  [new RegExp(`^${DATE_AND_CLOCK}([Zz]|[+-]\\d\\d:\\d\\d)`), 'nothing may follow the offset'],
  [new RegExp(`^${DATE_AND_CLOCK} ?\\[?[A-Za-z]`), 'the name of a time zone is not taken: write its offset'],
  [/^\d{4}-\d\d?-\d\d?([Tt ]|$)/, 'month, day, hour, minute and second have to have two digits each'],
];

function problemOfForm(text: string): string {
  return PROBLEMS_OF_FORM.find(([form]) => form.test(text))?.[1] ?? 'this is not such a time';
}
