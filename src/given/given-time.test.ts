import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { givenTime, readTime } from './given-time.ts';

describe('readTime', () => {
  it.each([
    ['2026-12-24T10:00:00Z', '2026-12-24T10:00:00.000000Z'],
    ['2026-12-24T10:00:00+01:00', '2026-12-24T09:00:00.000000Z'],
    ['2026-12-24T10:00:00-00:00', '2026-12-24T10:00:00.000000Z'],
    ['2026-12-24t10:00:00z', '2026-12-24T10:00:00.000000Z'],
    ['2026-12-24 10:00:00Z', '2026-12-24T10:00:00.000000Z'],
    ['2026-12-24T10:00Z', '2026-12-24T10:00:00.000000Z'],
    ['2026-12-24T10:00:00.5Z', '2026-12-24T10:00:00.500000Z'],
    ['2026-12-24T10:00:00.123456789123456789Z', '2026-12-24T10:00:00.123456Z'],
    ['2026-12-24T23:30:00-23:59', '2026-12-25T23:29:00.000000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000000Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000000Z'],
    ['2017-01-01T00:59:60.5+01:00', '2017-01-01T00:00:00.000000Z'],
    ['0099-06-01T00:00:00Z', '0099-06-01T00:00:00.000000Z'],
    ['0000-06-01T00:00:00Z', '0001-01-01T00:00:00.000000Z'],
    ['0001-01-01T00:00:00+01:00', '0001-01-01T00:00:00.000000Z'],
    ['9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000000Z'],
  ])('accepts %s', (text, time) => {
    expect(readTime(text)).toEqual({ time });
  });

  it.each([
    ['2026-12-24T10:00:00', 'the offset from UTC is missing'],
    ['2026-12-24 10:00', 'the offset from UTC is missing'],
    ['2026-12-24T10:00:00.123', 'the offset from UTC is missing'],
    ['2026-12-24', 'the time of day and the offset are missing'],
    ['2026-12-24Z', 'the time of day is missing'],
    ['2026-12-24T10Z', 'the minutes are missing'],
    ['10:00:00Z', 'the date is missing'],
    ['2026-W52-4T10:00:00Z', 'by its week'],
    ['2026W524', 'by its week'],
    ['2026-358T10:00:00Z', 'day of the year'],
    ['26-12-24T10:00:00Z', 'four digits'],
    ['+002026-12-24T10:00:00Z', 'four digits'],
    ['20261224T100000Z', 'dashes'],
    ['2026-12-24T100000Z', 'colons within the time of day'],
    ['2026-12-24T10:00:00+0100', 'the colon within the offset is missing'],
    ['2026-12-24T10:00:00+01', 'the minutes of the offset are missing'],
    ['2026-12-24T10:00:00 01:00', '%2B'],
    ['2026-12-24T10:00:00 +01:00', 'white space before the offset'],
    ['2026-12-24T10:00:00\u221201:00', 'ASCII'],
    ['2026-12-24T10:00:00,5Z', 'a fraction of a second begins with a point'],
    ['2026-12-24T10:00:00.Z', 'digits after the point'],
    ['2026-12-24T10:00:00Z, please', 'nothing may follow the offset'],
    ['2026-12-24T10:00:00+01:00[Europe/Berlin]', 'nothing may follow the offset'],
    ['2026-12-24T10:00:00 CET', 'the name of a time zone'],
    ['2026-12-24T10:00:00[Europe/Berlin]', 'the name of a time zone'],
    ['2026-1-4T9:00:00Z', 'two digits'],
    [' 2026-12-24T10:00:00Z', 'white space'],
    ['2026-12-24T10:00:00Z\n', 'white space'],
    ['', 'empty'],
    ['1798106400', 'a number of seconds'],
    ['tomorrow', 'not such a time'],
    ['2026-13-01T10:00:00Z', 'a month is from 01 to 12'],
    ['2026-00-01T10:00:00Z', 'a month is from 01 to 12'],
    ['2026-02-29T10:00:00Z', 'the days 01 to 28'],
    ['2026-04-31T10:00:00Z', 'the days 01 to 30'],
    ['2026-12-24T24:00:00Z', 'midnight is 00:00 of the next day'],
    ['2026-12-24T25:00:00Z', 'an hour is from 00 to 23'],
    ['2026-12-24T10:60:00Z', 'a minute is from 00 to 59'],
    ['2026-12-24T10:00:61Z', 'a second is from 00 to 59'],
    ['2026-12-24T10:00:60Z', 'the last one of a month in UTC'],
    ['2026-12-31T23:59:60+01:00', 'the last one of a month in UTC'],
    ['2026-12-24T10:00:00+24:00', 'an offset has'],
    ['2026-12-24T10:00:00+01:60', 'an offset has'],
    ['9999-12-31T23:59:59-01:00', 'after the year 9999'],
  ])('says what is wrong with %j', (text, problem) => {
    expect(readTime(text)).toEqual({
      problem: expect.stringContaining(problem),
      code: expect.stringMatching(/^invalid_/),
    });
  });

  it('accepts every time that JavaScript writes', () => {
    const dates = fc.date({
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59Z'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(dates, (date) => {
        const read = readTime(date.toISOString());
        return 'time' in read && Date.parse(read.time) === date.getTime();
      }),
    );
  });
});

describe('givenTime', () => {
  it('says what was expected and what is wrong', () => {
    const issue = givenTime().safeParse('2026-12-24T10:00:00').error?.issues[0];
    expect(issue?.message).toBe(
      'expected a time such as 2026-12-24T10:00:00Z or 2026-12-24T10:00:00+01:00 (RFC 3339); the offset from UTC is missing: Z for UTC itself, or one such as +01:00',
    );
  });

  it('has the format date-time in the JSON schema', () => {
    expect(z.toJSONSchema(givenTime(), { io: 'input' })).toMatchObject({ type: 'string', format: 'date-time' });
  });
});
