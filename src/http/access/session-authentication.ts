import type { Client } from '../../core/access/client.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import type { AuthenticationLink } from './chain.ts';
import { givenSession, SESSION_COOKIE } from './session-cookie.ts';
import type { FoundSession, SessionLookup } from './session-lookup.ts';

export interface SessionAuthenticationOptions {
  readonly sessions: SessionLookup;
  readonly metrics: Metrics;
}

/** A browser may send the cookie of a session instead of a key. */
export function createSessionAuthentication({ sessions, metrics }: SessionAuthenticationOptions): AuthenticationLink {
  const refusal = (code: 'unauthenticated' | 'session_ended', detail: string): Problem => {
    metrics.authFailures.inc({ reason: 'session' });
    return new Problem(code, detail, { headers: { 'WWW-Authenticate': 'Bearer realm="scheduler"' } });
  };

  /** Puts the session into the request, or refuses it. A token that nobody has looks like one whose session has ended. */
  const judge = (found: FoundSession | null, info: ArrivingRequest): Client => {
    if (found === null) throw refusal('session_ended', 'the session of this request has ended; log in again');
    info.session = found.session;
    info.annotate({ session: found.session.id });
    return found.client;
  };

  return {
    takes: ({ rawHeaders }) => givenSession(rawHeaders).kind !== 'none',
    clientOf(info) {
      const given = givenSession(info.rawHeaders);
      if (given.kind === 'several') {
        throw refusal('unauthenticated', `the request has several cookies named ${SESSION_COOKIE}; expected one`);
      }
      const found = given.kind === 'token' ? sessions.find(given.token) : null;
      return found instanceof Promise ? found.then((later) => judge(later, info)) : judge(found, info);
    },
  };
}
