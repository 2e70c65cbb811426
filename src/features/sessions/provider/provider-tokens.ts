import type { JWTPayload, ProtectedHeaderParameters } from 'jose';
import type { Config } from '../../../config/env.ts';
import { messageOf } from '../../../core/errors.ts';
import type { AccessTokens, IdentifiedToken } from '../../../http/access/token-authentication.ts';
import { PROVIDER_PREFIX } from '../provider-prefix.ts';
import { clientOfPerson } from './grants.ts';
import { identityIn, type IdentityRules } from './identity.ts';
import { ProviderFault } from './provider-fault.ts';
import { identityProblem, providerProblem } from './provider-problems.ts';
import type { Provider } from './provider.ts';

type TokenConfig = Pick<Config, 'OIDC_ISSUER' | 'OIDC_AUDIENCE' | 'OIDC_ALGORITHMS'>;

/** Types that access tokens have. Other types, such as logout tokens, are signed by the same keys for other purposes. */
const TYPES = new Set(['jwt', 'at+jwt', 'application/at+jwt']);

/**
 * Accepts access tokens of the provider. What can be seen without a key is checked first, so that a token of another
 * server never makes this process ask the provider.
 */
export function createProviderTokens(
  provider: Pick<Provider, 'verify'>,
  config: TokenConfig,
  rules: IdentityRules,
): AccessTokens {
  return {
    async identify(token) {
      const jose = await import('jose');
      let reason: string | null;
      try {
        reason = refusal(jose.decodeProtectedHeader(token), jose.decodeJwt(token), config);
      } catch (error) {
        reason = messageOf(error);
      }
      if (reason !== null) return { kind: 'wrong', reason };
      try {
        const identity = identityIn(await provider.verify(token, config.OIDC_AUDIENCE), rules);
        if (identity.kind === 'person') {
          return { kind: 'known', client: clientOfPerson(identity.name, identity.grant) };
        }
        const name = identity.kind === 'no-grant' ? PROVIDER_PREFIX + identity.name : null;
        return { kind: 'refused', name, problem: identityProblem(identity) };
      } catch (error) {
        if (error instanceof ProviderFault) throw providerProblem(error);
        // The library looks at the times last, so the token is otherwise right.
        if (error instanceof jose.errors.JWTExpired) return { kind: 'expired' };
        if (error instanceof jose.errors.JOSEError || error instanceof TypeError) return wrong(error);
        throw error;
      }
    },
  };
}

/** A key of the provider that cannot be used for the algorithm is a `TypeError`. */
function wrong(error: Error): IdentifiedToken {
  return { kind: 'wrong', reason: error.message };
}

/** Returns why a token cannot be valid, whatever its signature is; null if it may be. */
function refusal(
  { alg, typ }: ProtectedHeaderParameters,
  { iss, aud, cnf }: JWTPayload,
  { OIDC_ISSUER, OIDC_AUDIENCE, OIDC_ALGORITHMS }: TokenConfig,
): string | null {
  if (typeof alg !== 'string' || !OIDC_ALGORITHMS.includes(alg)) return 'its algorithm is not in OIDC_ALGORITHMS';
  if (typ !== undefined && !TYPES.has(String(typ).toLowerCase())) return 'its type is not that of an access token';
  if (iss !== OIDC_ISSUER) return 'it was issued by somebody else than OIDC_ISSUER';
  if (![aud].flat().includes(OIDC_AUDIENCE)) return 'it is not for OIDC_AUDIENCE';
  // Its owner would have to prove that it is theirs, which a bearer token does not.
  if (cnf !== undefined) return 'it is bound to a key';
  return null;
}
