import { looksLikeSecret, secretIdOf } from '../../core/access/secret.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';
import type { ClientDirectory, Identified, KnownClient } from './client-directory.ts';
import type { WrongKeys } from './wrong-keys.ts';

export interface SecretCheckOptions {
  readonly directory: Pick<ClientDirectory, 'identify'>;
  readonly wrongKeys: WrongKeys;
  readonly metrics: Metrics;
}

/**
 * Finds the client of a secret that a request has sent. A right secret is never slowed down: wrong ones are counted only
 * after they have turned out to be wrong.
 * @throws Problem `unauthenticated`, `secret_expired` or `too_many_wrong_keys`
 */
export type SecretCheck = (secret: string, info: RequestInfo) => KnownClient | Promise<KnownClient>;

export function createSecretCheck({ directory, wrongKeys, metrics }: SecretCheckOptions): SecretCheck {
  const judge = (found: Identified, secret: string, info: RequestInfo): KnownClient => {
    if (found.kind === 'known') return found;
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

  return (secret, info) => {
    const found = directory.identify(secret);
    return found instanceof Promise ? found.then((later) => judge(later, secret, info)) : judge(found, secret, info);
  };
}

const INVALID_TOKEN = { 'WWW-Authenticate': 'Bearer realm="scheduler", error="invalid_token"' };

const EXPIRED = {
  secret: 'this secret has expired: another one has replaced it',
  client: 'the client of this secret has expired',
} as const;
