import { looksLikeSecret, secretIdOf } from '../../core/access/secret.ts';
import type { RequestInfo } from '../route.ts';
import type { ClientDirectory, Identified, KnownClient } from './client-directory.ts';
import { createKeyRefusals, type KeyRefusalsOptions } from './key-refusals.ts';

export interface SecretCheckOptions extends KeyRefusalsOptions {
  readonly directory: Pick<ClientDirectory, 'identify'>;
}

/**
 * Finds the client of a secret that a request has sent. A right secret is never slowed down: wrong ones are counted only
 * after they have turned out to be wrong.
 * @throws Problem `unauthenticated`, `secret_expired` or `too_many_wrong_keys`
 */
export type SecretCheck = (secret: string, info: RequestInfo) => KnownClient | Promise<KnownClient>;

export function createSecretCheck({ directory, ...counted }: SecretCheckOptions): SecretCheck {
  const refusals = createKeyRefusals(counted);
  const judge = (found: Identified, secret: string, info: RequestInfo): KnownClient => {
    if (found.kind === 'known') return found;
    const id = secretIdOf(secret);
    if (id !== null) info.annotate({ secret_id: id });
    if (found.kind === 'expired') throw refusals.expired(EXPIRED[found.of]);
    const incomplete = id === null && looksLikeSecret(secret);
    throw refusals.wrong(info, incomplete ? 'the key is incomplete or has a typing error' : undefined);
  };

  return (secret, info) => {
    const found = directory.identify(secret);
    return found instanceof Promise ? found.then((later) => judge(later, secret, info)) : judge(found, secret, info);
  };
}

const EXPIRED = {
  secret: 'this secret has expired: another one has replaced it',
  client: 'the client of this secret has expired',
} as const;
