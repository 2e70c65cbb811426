import { createAllowedHosts, type AllowedHosts } from '../config/allowed-hosts.ts';
import { authModeOf } from '../config/auth-mode.ts';
import type { Config } from '../config/env.ts';
import { clientDirectory, type RunningDirectory } from '../features/access/feature.ts';
import { createIdentityProvider, createSessions, type SessionsAccess } from '../features/sessions/feature.ts';
import { openAuthentication, type Authentication } from '../http/access/authentication.ts';
import { createAuthenticationChain } from '../http/access/chain.ts';
import { createKeyAuthentication } from '../http/access/key-authentication.ts';
import { createSecretCheck } from '../http/access/secret-check.ts';
import { createSessionAuthentication } from '../http/access/session-authentication.ts';
import { createTokenAuthentication } from '../http/access/token-authentication.ts';
import { createWrongKeys } from '../http/access/wrong-keys.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from '../postgres/database.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Who may use an API process, and how it finds out who that is. */
export interface Access extends SessionsAccess {
  readonly directory: RunningDirectory;
  readonly authentication: Authentication;
  readonly allowedHosts: AllowedHosts;
  /** The services that have to run for it. */
  readonly services: readonly Service[];
}

export interface AccessParts extends Pick<SessionsAccess, 'refusals'> {
  readonly config: Config;
  readonly database: Database;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/**
 * Connects the ways in which requests say who sends them: the cookie of a session, an access token of the provider, or the
 * secret of a client.
 */
export function createAccess({ config, database, metrics, refusals, log }: AccessParts): Access {
  const directory = clientDirectory(database, config, log);
  const provider = createIdentityProvider(config, log);
  const clientOfGrant = provider?.clientOf ?? (() => null);
  const sessions = createSessions({ database, config, directory, clientOfGrant });
  const allowedHosts = createAllowedHosts([
    ...config.ALLOWED_HOSTS,
    ...(config.PUBLIC_URL === '' ? [] : [new URL(config.PUBLIC_URL).hostname]),
  ]);
  const shared = { directory, sessions, allowedHosts, provider, refusals };
  if (authModeOf(config) === 'open') {
    const login = { secret: false, provider: null };
    return { ...shared, login, checkSecret: null, authentication: openAuthentication, services: [] };
  }
  const counted = { directory, wrongKeys: createWrongKeys(), metrics };
  const checkSecret = createSecretCheck(counted);
  const tokens = provider?.tokens ?? null;
  const authentication = createAuthenticationChain(
    [
      createSessionAuthentication({ sessions: sessions.live, metrics }),
      ...(tokens === null ? [] : [createTokenAuthentication({ ...counted, tokens })]),
    ],
    createKeyAuthentication({ directory, checkSecret, metrics }),
  );
  return {
    ...shared,
    login: { secret: true, provider: provider && { name: provider.name, url: '/login' } },
    checkSecret,
    authentication,
    services: [directory, ...(provider === null ? [] : [provider.service])],
  };
}
