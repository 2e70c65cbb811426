import { describe, expect, it } from 'vitest';
import { encodingProblemOf, parseRedisUrl } from './store-urls.ts';

describe('parseRedisUrl', () => {
  it.each([
    ['redis://h', { tls: false, host: 'h', port: 6379, username: undefined, password: undefined, database: 0 }],
    ['redis://h/', { host: 'h', database: 0 }],
    ['redis://h:1/15', { host: 'h', port: 1, database: 15 }],
    ['rediss://u:p@[::1]:7000/3', { tls: true, host: '::1', port: 7000, username: 'u', password: 'p', database: 3 }],
    ['redis://:p%25%23%2Fa@h', { username: undefined, password: 'p%#/a' }],
  ])('reads %s', (text, expected) => {
    expect(parseRedisUrl(text)).toMatchObject(expected);
  });

  it.each([
    ['redis://h/mydb', 'expected the number of a database after the host, such as /0; given "/mydb"'],
    ['redis://h/0/1', 'given "/0/1"'],
    ['redis://h/-1', 'given "/-1"'],
    ['redis://h/1234567', 'given "/1234567"'],
    [
      'redis://h?db=3',
      'unknown query parameter "db", no parameter is supported; the number of the database is the path',
    ],
    ['redis://h/0?ssl=true', 'unknown query parameter "ssl"'],
    ['redis://h/0#1', 'expected nothing after the database'],
    ['redis://:pa%zz@h', 'the password has a % that does not begin a percent-encoding'],
    ['redis://us%er:p@h', 'the user name has a %'],
    ['redis://:50%@h', 'the password has a %'],
    // The # in the password ends the host.
    ['redis://:pa#ss@h/0', 'special characters of user and password are percent-encoded'],
    ['redis:///0', 'it names no host'],
    ['http://h', 'expected redis://'],
    ['h:6379', 'expected redis://'],
    ['redis://h:99999', 'expected redis://'],
  ])('says what is wrong with %s', (text, expected) => {
    expect(parseRedisUrl(text)).toContain(expected);
  });
});

describe('encodingProblemOf', () => {
  it.each([
    ['postgresql://u:pa%zz@h/d', 'the password has a %'],
    ['postgresql://u%:p@h/d', 'the user name has a %'],
    ['postgresql://u:p@h/100%', 'the path has a %'],
  ])('says what is wrong with %s', (text, expected) => {
    expect(encodingProblemOf(text)).toContain(expected);
  });

  it.each(['postgresql://u:pa%25zz@h/d', 'postgresql://h/d?options=-c%20jit=off', 'no URL'])('accepts %s', (text) => {
    expect(encodingProblemOf(text)).toBeNull();
  });
});
