import { createAllowedHosts, type AllowedHosts } from '../config/allowed-hosts.ts';
import { authModeOf } from '../config/auth-mode.ts';
import type { Config } from '../config/env.ts';
import { clientDirectory, type RunningDirectory } from '../features/access/feature.ts';
import { createSessions, type SessionsAccess } from '../features/sessions/feature.ts';
import { openAuthentication, type Authentication } from '../http/access/authentication.ts';
import { createAuthenticationChain } from '../http/access/chain.ts';
import { createKeyAuthentication } from '../http/access/key-authentication.ts';
import { createSecretCheck } from '../http/access/secret-check.ts';
import { createSessionAuthentication } from '../http/access/session-authentication.ts';
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

export interface AccessParts {
  readonly config: Config;
  readonly database: Database;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Connects the ways in which requests say who sends them: the cookie of a session, or the secret of a client. */
export function createAccess({ config, database, metrics, log }: AccessParts): Access {
  const directory = clientDirectory(database, config, log);
  const sessions = createSessions({ database, config, directory, clientOfGrant: () => null });
  const allowedHosts = createAllowedHosts([
    ...config.ALLOWED_HOSTS,
    ...(config.PUBLIC_URL === '' ? [] : [new URL(config.PUBLIC_URL).hostname]),
  ]);
  if (authModeOf(config) === 'open') {
    const login = { secret: false, provider: null };
    return {
      directory,
      sessions,
      allowedHosts,
      login,
      checkSecret: null,
      authentication: openAuthentication,
      services: [],
    };
  }
  const checkSecret = createSecretCheck({ directory, wrongKeys: createWrongKeys(), metrics });
  const authentication = createAuthenticationChain(
    [createSessionAuthentication({ sessions: sessions.live, metrics })],
    createKeyAuthentication({ directory, checkSecret, metrics }),
  );
  const login = { secret: true, provider: null };
  return { directory, sessions, allowedHosts, login, checkSecret, authentication, services: [directory] };
}
