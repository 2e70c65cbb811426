import type { Client } from '../../core/access/client.ts';
import { looksLikeSecret, secretIdOf } from '../../core/access/secret.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';
import type { Authentication } from './authentication.ts';
import type { ClientDirectory, Identified } from './client-directory.ts';
import type { WrongKeys } from './wrong-keys.ts';

export interface KeyAuthenticationOptions {
  readonly directory: ClientDirectory;
  readonly wrongKeys: WrongKeys;
  readonly metrics: Metrics;
}

const BEARER = /^bearer +(\S.*)$/i;

/**
 * Every request has to carry the secret of a client in its `Authorization` header. A right secret is never slowed down:
 * wrong ones are counted only after they have turned out to be wrong.
 */
export function createKeyAuthentication({ directory, wrongKeys, metrics }: KeyAuthenticationOptions): Authentication {
  /** Returns the client, or refuses the request. */
  const judge = (found: Identified, secret: string, info: RequestInfo): Client => {
    if (found.kind === 'known') return found.client;
    const id = secretIdOf(secret);
    if (id !== null) info.annotate({ secret_id: id });
    // Only somebody who has the secret learns that it has expired. They are not guessing, so they are not slowed down.
    if (found.kind === 'expired') {
      metrics.authFailures.inc({ reason: 'expired' });
      throw new Problem('secret_expired', EXPIRED[found.of], { headers: INVALID_TOKEN });
    }
    const seconds = Math.ceil(wrongKeys.count(info.clientAddress));
    metrics.authFailures.inc({ reason: seconds > 0 ? 'slowed' : 'unknown' });
    if (seconds > 0) {
      const detail = `too many wrong keys came from this address; try again in ${seconds} s`;
      throw new Problem('too_many_wrong_keys', detail, { headers: { 'Retry-After': String(seconds) } });
    }
    const incomplete = id === null && looksLikeSecret(secret);
    const detail = incomplete ? 'the key is incomplete or has a typing error' : 'the key is not valid';
    throw new Problem('unauthenticated', detail, { headers: INVALID_TOKEN });
  };

  const withoutKey = (header: string | undefined): Problem => {
    metrics.authFailures.inc({ reason: 'missing' });
    const what =
      header === undefined ? 'the request has no key' : '`Authorization` is not of the form `Bearer <secret>`';
    const first = directory.isEmpty()
      ? '; no client has a secret yet: `scheduler clients create NAME --role admin` makes the first one and prints its secret'
      : '; send `Authorization: Bearer` and the secret of a client';
    return new Problem('unauthenticated', what + first, { headers: NO_TOKEN });
  };

  return {
    clientOf(info) {
      const header = info.rawHeaders.authorization;
      const secret = BEARER.exec(header ?? '')?.[1];
      if (secret === undefined) throw withoutKey(header);
      const found = directory.identify(secret);
      return found instanceof Promise ? found.then((later) => judge(later, secret, info)) : judge(found, secret, info);
    },
  };
}

/** RFC 6750: a request without a token gets no error code. */
const NO_TOKEN = { 'WWW-Authenticate': 'Bearer realm="scheduler"' };
const INVALID_TOKEN = { 'WWW-Authenticate': 'Bearer realm="scheduler", error="invalid_token"' };

const EXPIRED = {
  secret: 'this secret has expired: another one has replaced it',
  client: 'the client of this secret has expired',
} as const;
