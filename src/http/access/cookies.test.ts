import { describe, expect, it } from 'vitest';
import { cookiesNamed, hostCookie } from './cookies.ts';
import { cookieOfSession, givenSession, NO_SESSION_COOKIE, SESSION_COOKIE } from './session-cookie.ts';

const TOKEN = 'A'.repeat(43);

describe('cookiesNamed', () => {
  it.each<[string | undefined, string[]]>([
    [undefined, []],
    ['', []],
    ['a=1', ['1']],
    ['x=0; a=1; y=2', ['1']],
    ['x=0;a=1', ['1']],
    [' a = 1 ', ['1']],
    ['a=1; a=2', ['1', '2']],
    ['a=b=c', ['b=c']],
    ['a=', ['']],
    ['a', ['']],
    ['aa=1; xa=2; A=3', []],
    ['x=a=1', []],
    // A cookie without a name, which looks like one with this name.
    ['=a=1', []],
  ])('of %j', (header, values) => {
    expect(cookiesNamed(header, 'a')).toEqual(values);
  });
});

describe('givenSession', () => {
  const of = (cookie: string, headers: object = {}) => givenSession({ cookie, ...headers });

  it('reads the token', () => {
    expect(of(`theme=dark; ${SESSION_COOKIE}=${TOKEN}`)).toEqual({ kind: 'token', token: TOKEN });
  });

  it('has nothing without the cookie', () => {
    expect(givenSession({})).toEqual({ kind: 'none' });
    expect(of('theme=dark')).toEqual({ kind: 'none' });
  });

  it('has nothing in a request with a key, whatever the key is', () => {
    for (const authorization of ['Bearer x', 'Basic x', '']) {
      expect(of(`${SESSION_COOKIE}=${TOKEN}`, { authorization })).toEqual({ kind: 'none' });
    }
  });

  it('does not choose between two', () => {
    expect(of(`${SESSION_COOKIE}=${TOKEN}; ${SESSION_COOKIE}=${TOKEN}`)).toEqual({ kind: 'several' });
  });

  it.each(['', 'A'.repeat(42), 'A'.repeat(44), `"${TOKEN}"`, `${'A'.repeat(42)}=`, `${'A'.repeat(42)}%`])(
    'does not take %j for a token',
    (value) => {
      expect(of(`${SESSION_COOKIE}=${value}`)).toEqual({ kind: 'malformed' });
    },
  );
});

it('cookies belong to this host, and neither scripts nor other sites can use them', () => {
  const expected = 'Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax';
  expect(hostCookie('__Host-x', 'v', 60)).toBe(`__Host-x=v; ${expected}`);
  expect(cookieOfSession(TOKEN, 60)).toBe(`__Host-scheduler-session=${TOKEN}; ${expected}`);
  expect(NO_SESSION_COOKIE).toBe('__Host-scheduler-session=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax');
});
