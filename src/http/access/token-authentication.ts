import { NOBODY, type Client } from '../../core/access/client.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import type { Problem } from '../problem.ts';
import type { AuthenticationLink } from './chain.ts';
import type { ClientDirectory } from './client-directory.ts';
import { createKeyRefusals, type KeyRefusalsOptions } from './key-refusals.ts';

/** Whom an access token belongs to. */
export type IdentifiedToken =
  | { readonly kind: 'known'; readonly client: Client }
  /** The token is valid, but its person may do nothing. `name` is that of the client, as far as it is known. */
  | { readonly kind: 'refused'; readonly name: string | null; readonly problem: Problem }
  /** The token was valid. */
  | { readonly kind: 'expired' }
  /** `reason` is for the log only. */
  | { readonly kind: 'wrong'; readonly reason: string };

/** Access tokens (JWT) that a provider has signed for this API. */
export interface AccessTokens {
  /** @throws Problem `provider_unavailable` if the keys of the provider cannot be looked up */
  identify(token: string): Promise<IdentifiedToken>;
}

export interface TokenAuthenticationOptions extends KeyRefusalsOptions {
  readonly tokens: AccessTokens;
  /** The secrets of clients in files may be any texts, also one that looks like a token. They come first. */
  readonly directory: Pick<ClientDirectory, 'identify'>;
}

/** Three parts of base64url. The last one is empty if nobody has signed the token. */
const BEARER_TOKEN = /^bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)$/i;

function tokenIn({ rawHeaders }: Pick<ArrivingRequest, 'rawHeaders'>): string | undefined {
  return BEARER_TOKEN.exec(rawHeaders.authorization ?? '')?.[1];
}

/** A program may send an access token of the provider instead of a secret. A wrong one counts as a wrong key. */
export function createTokenAuthentication(options: TokenAuthenticationOptions): AuthenticationLink {
  const { tokens, directory } = options;
  const refusals = createKeyRefusals(options);

  const judge = (found: IdentifiedToken, info: ArrivingRequest): Client => {
    if (found.kind === 'known') return found.client;
    if (found.kind === 'expired') {
      throw refusals.expired('this access token has expired: get another one from the provider');
    }
    if (found.kind === 'wrong') {
      info.annotate({ token_refused: found.reason });
      throw refusals.wrong(info);
    }
    // The audit log has to say who was refused.
    if (found.name !== null) info.client = { ...NOBODY, name: found.name };
    throw found.problem;
  };

  return {
    takes: (info) => tokenIn(info) !== undefined,
    async clientOf(info) {
      const token = tokenIn(info) ?? '';
      const secret = await directory.identify(token);
      return secret.kind === 'known' ? secret.client : judge(await tokens.identify(token), info);
    },
  };
}
