import type { IncomingHttpHeaders } from 'node:http';
import { cookiesNamed, hostCookie } from './cookies.ts';

export const SESSION_COOKIE = '__Host-scheduler-session';

/** A token is 32 random bytes in base64url. */
export const SESSION_TOKEN_BYTES = 32;
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

/** What the cookies of a request say about its session. */
export type GivenSession =
  | { readonly kind: 'none' }
  /** Another site of the same browser may have added a cookie of the same name, so none of them counts. */
  | { readonly kind: 'several' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'token'; readonly token: string };

const NONE: GivenSession = { kind: 'none' };

/** Reads the session of a request. A request with an `Authorization` header has none, whatever its cookies are. */
export function givenSession({ authorization, cookie }: IncomingHttpHeaders): GivenSession {
  if (authorization !== undefined) return NONE;
  const [token, ...more] = cookiesNamed(cookie, SESSION_COOKIE);
  if (token === undefined) return NONE;
  if (more.length > 0) return { kind: 'several' };
  return TOKEN.test(token) ? { kind: 'token', token } : { kind: 'malformed' };
}

/** Most sessions that one logout ends. A browser has one. */
const ENDED_MAX = 10;

/**
 * Returns the tokens of all sessions that a request has. They are for a logout: afterwards no session of this browser may
 * live on, whatever else the request has.
 */
export function sessionTokens({ cookie }: IncomingHttpHeaders): string[] {
  return cookiesNamed(cookie, SESSION_COOKIE)
    .filter((token) => TOKEN.test(token))
    .slice(0, ENDED_MAX);
}

/** Returns the `Set-Cookie` that gives a session to a browser. */
export function cookieOfSession(token: string, maxAgeSeconds: number): string {
  return hostCookie(SESSION_COOKIE, token, maxAgeSeconds);
}

/** A `Set-Cookie` that takes the session away from a browser. */
export const NO_SESSION_COOKIE = hostCookie(SESSION_COOKIE, '', 0);
