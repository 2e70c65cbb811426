import type { Config } from '../../../config/env.ts';
import type { Client } from '../../../core/access/client.ts';
import type { RefusalLog } from '../../../http/access/refusals.ts';
import type { AccessTokens } from '../../../http/access/token-authentication.ts';
import type { Route } from '../../../http/route.ts';
import type { Seal } from '../../../http/seal.ts';
import type { Service } from '../../../lifecycle/service.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import type { OpenSession } from '../open-session.ts';
import { clientOfPerson, parseGrants } from './grants.ts';
import type { IdentityRules } from './identity.ts';
import { loginRoutes } from './login-routes.ts';
import { createLoginStates } from './login-state.ts';
import { createProviderTokens } from './provider-tokens.ts';
import { createProvider } from './provider.ts';

/** The OpenID Connect provider as the other parts of the API see it. */
export interface IdentityProvider {
  /** Its host, for people. */
  readonly name: string;
  /** Accepts its access tokens; null if the settings name no audience. */
  readonly tokens: AccessTokens | null;
  /**
   * Returns on whose behalf a person acts to whom a grant was given, as the grant is now; null if there is no such grant
   * any more.
   */
  clientOf(person: string, grant: string): Client | null;
  /** The pages by which people log in. */
  routes(seal: Seal, openSession: OpenSession, refusals: RefusalLog): readonly Route[];
  /** Closes the connections to the provider. */
  readonly service: Service;
}

/**
 * Returns the provider of the settings; null if they name none.
 * @throws SchedulerError if the grants cannot be used
 */
export function createIdentityProvider(config: Config, log: Logger): IdentityProvider | null {
  if (config.OIDC_ISSUER === '') return null;
  const rules: IdentityRules = {
    nameClaim: config.OIDC_NAME_CLAIM,
    grantsClaim: config.OIDC_GRANTS_CLAIM,
    grants: parseGrants(config.OIDC_GRANTS),
  };
  const provider = createProvider(config, log);
  return {
    name: provider.name,
    tokens: config.OIDC_AUDIENCE === '' ? null : createProviderTokens(provider, config, rules),
    clientOf(person, value) {
      const grant = rules.grants.named(value);
      return grant === null ? null : clientOfPerson(person, grant);
    },
    routes: (seal, openSession, refusals) =>
      loginRoutes({
        provider,
        rules,
        states: createLoginStates(seal, { issuer: config.OIDC_ISSUER, client: config.OIDC_CLIENT_ID }),
        openSession,
        refusals,
        publicUrl: config.PUBLIC_URL,
        log,
      }),
    service: { name: 'identity-provider', start: async () => {}, stop: provider.close },
  };
}
