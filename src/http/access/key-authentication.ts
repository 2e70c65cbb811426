import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { Authentication } from './authentication.ts';
import type { ClientDirectory } from './client-directory.ts';
import type { SecretCheck } from './secret-check.ts';

export interface KeyAuthenticationOptions {
  readonly directory: Pick<ClientDirectory, 'isEmpty'>;
  readonly checkSecret: SecretCheck;
  readonly metrics: Metrics;
}

const BEARER = /^bearer +(\S.*)$/i;

/** Every request has to carry the secret of a client in its `Authorization` header. */
export function createKeyAuthentication({ directory, checkSecret, metrics }: KeyAuthenticationOptions): Authentication {
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
      const known = checkSecret(secret, info);
      return known instanceof Promise ? known.then(({ client }) => client) : known.client;
    },
  };
}

/** RFC 6750: a request without a token gets no error code. */
const NO_TOKEN = { 'WWW-Authenticate': 'Bearer realm="scheduler"' };
