import { readFileSync } from 'node:fs';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import type { ClientAuth, Configuration } from 'openid-client';
import {
  PROVIDER_CLOCK_TOLERANCE_MS,
  PROVIDER_METADATA_KEPT_MS,
  PROVIDER_PAUSE_MS,
  PROVIDER_TIMEOUT_MS,
} from '../../../config/access-timings.ts';
import type { Config } from '../../../config/env.ts';
import { newestText } from '../../../config/replaced-file.ts';
import { systemClock } from '../../../core/clock.ts';
import { createEpisode } from '../../../telemetry/episode.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { createBoundedFetch, type BoundedFetch } from './bounded-fetch.ts';
import type { Claims } from './identity.ts';
import { createKeySet } from './key-set.ts';
import { faultIn, ProviderFault, reasonOf } from './provider-fault.ts';
import { createRenewed } from './renewed.ts';

export type ProviderConfig = Pick<
  Config,
  | 'PUBLIC_URL'
  | 'OIDC_ISSUER'
  | 'OIDC_CLIENT_ID'
  | 'OIDC_CLIENT_SECRET'
  | 'OIDC_CLIENT_SECRET_FILE'
  | 'OIDC_SCOPES'
  | 'OIDC_ALGORITHMS'
  | 'OIDC_CA_FILE'
>;

/** What one login keeps to itself until it ends. */
export interface LoginSecrets {
  /** Proves to the provider that the login ends where it began (PKCE). */
  readonly verifier: string;
  /** Comes back with the browser. */
  readonly state: string;
  /** Comes back inside the ID token. */
  readonly nonce: string;
}

/** The outcome of a login at the provider. */
export interface LoggedIn {
  /** The claims of the ID token. */
  readonly claims: Claims;
  /** Asks the provider for claims that are not in the ID token; null if it has no such endpoint. */
  readonly moreClaims: (() => Promise<Claims>) | null;
}

/** An OpenID Connect provider. Every function throws a `ProviderFault` if the provider does not answer properly. */
export interface Provider {
  /** Its host, for people. */
  readonly name: string;
  /** Where the browser is sent back to. */
  readonly callback: string;
  /** Returns the address at the provider where a person logs in. */
  loginUrl(secrets: LoginSecrets): Promise<URL>;
  /**
   * Ends a login: exchanges the code for an ID token and checks both.
   * @param callback the address to which the provider has sent the browser, with its query
   */
  finish(callback: URL, secrets: LoginSecrets): Promise<LoggedIn>;
  /**
   * Checks a token that the provider has signed for an audience.
   * @throws an error of jose if it is not valid
   */
  verify(token: string, audience: string): Promise<Claims>;
  close(): Promise<void>;
}

/** The largest answer of the provider. */
const ANSWER_BYTES_MAX = 1_048_576;

/** Logins that one process ends at the same time. Each may wait for the provider for as long as its time limit. */
const FINISHING_MAX = 50;

interface Discovered {
  readonly library: typeof import('openid-client');
  readonly configuration: Configuration;
  readonly keys: JWTVerifyGetKey;
}

/**
 * Nothing is asked of the provider before somebody logs in or a token has to be checked, so the API starts while it is
 * away.
 */
export function createProvider(config: ProviderConfig, log: Logger): Provider {
  const { OIDC_ISSUER: issuer, OIDC_CA_FILE: caFile } = config;
  const ca = caFile === '' ? undefined : readFileSync(caFile, 'utf8');
  const bounded = createBoundedFetch({ timeoutMs: PROVIDER_TIMEOUT_MS, bytesMax: ANSWER_BYTES_MAX }, ca);
  const callback = new URL('/login/callback', config.PUBLIC_URL).href;
  const outage = createEpisode({
    nowMs: systemClock.monotonicMs,
    // Errors of the library hold whole answers, so only their messages are logged.
    onBegin: (fault) => log.warn({ issuer, reason: reasonOf(fault) }, 'the OpenID Connect provider does not answer'),
    onEnd: (end) => log.info({ issuer, ...end }, 'the OpenID Connect provider answers again'),
  });
  const discovered = createRenewed({
    load: () => discover(config, bounded),
    keptMs: PROVIDER_METADATA_KEPT_MS,
    pauseMs: PROVIDER_PAUSE_MS,
  });
  let finishing = 0;

  /** Tells faults of the provider from everything else. */
  const asking = async <Result>(ask: (found: Discovered) => Promise<Result>): Promise<Result> => {
    try {
      const result = await ask(await discovered());
      outage.succeeded();
      return result;
    } catch (error) {
      const fault = faultIn(error);
      if (fault === null) throw error;
      outage.failed(fault);
      throw fault;
    }
  };

  const check = async ({ keys }: Discovered, token: string, audience: string): Promise<JWTPayload> => {
    const { jwtVerify } = await import('jose');
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience,
      algorithms: [...config.OIDC_ALGORITHMS],
      clockTolerance: PROVIDER_CLOCK_TOLERANCE_MS / 1_000,
      requiredClaims: ['exp'],
    });
    return payload;
  };

  const exchange = async (found: Discovered, url: URL, secrets: LoginSecrets): Promise<LoggedIn> => {
    const { library, configuration } = found;
    const tokens = await library.authorizationCodeGrant(configuration, url, {
      pkceCodeVerifier: secrets.verifier,
      expectedState: secrets.state,
      expectedNonce: secrets.nonce,
      idTokenExpected: true,
    });
    // The library trusts the connection and does not look at the signature.
    const claims = await check(found, tokens.id_token ?? '', config.OIDC_CLIENT_ID);
    const subject = claims.sub ?? '';
    const hasMore = configuration.serverMetadata().userinfo_endpoint !== undefined;
    const moreClaims = () => asking(() => library.fetchUserInfo(configuration, tokens.access_token, subject));
    return { claims, moreClaims: hasMore ? moreClaims : null };
  };

  return {
    name: new URL(issuer).host,
    callback,
    loginUrl: ({ verifier, state, nonce }) =>
      asking(async ({ library, configuration }) =>
        library.buildAuthorizationUrl(configuration, {
          redirect_uri: callback,
          scope: config.OIDC_SCOPES.join(' '),
          code_challenge: await library.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
          state,
          nonce,
        }),
      ),
    async finish(url, secrets) {
      if (finishing >= FINISHING_MAX) throw new ProviderFault('too many logins wait for the provider');
      finishing++;
      try {
        return await asking((found) => exchange(found, url, secrets));
      } finally {
        finishing--;
      }
    },
    verify: (token, audience) => asking((found) => check(found, token, audience)),
    close: bounded.close,
  };
}

async function discover(config: ProviderConfig, bounded: BoundedFetch): Promise<Discovered> {
  const { OIDC_ISSUER: issuer } = config;
  try {
    const library = await import('openid-client');
    const configuration = await library.discovery(
      new URL(issuer),
      config.OIDC_CLIENT_ID,
      { [library.clockTolerance]: PROVIDER_CLOCK_TOLERANCE_MS / 1_000 },
      clientAuthentication(library, config),
      {
        timeout: PROVIDER_TIMEOUT_MS / 1_000,
        [library.customFetch]: bounded.fetch,
        execute: issuer.startsWith('http:') ? [library.allowInsecureRequests] : [],
      },
    );
    const metadata = configuration.serverMetadata();
    // The library accepts other spellings, and names of all tenants at once.
    if (metadata.issuer !== issuer) {
      throw new ProviderFault(
        `the provider calls itself ${JSON.stringify(metadata.issuer)}; OIDC_ISSUER has to be the same, given ${JSON.stringify(issuer)}`,
      );
    }
    for (const endpoint of ['authorization_endpoint', 'token_endpoint', 'jwks_uri'] as const) {
      const given = metadata[endpoint] ?? '';
      const { protocol } = URL.parse(given) ?? {};
      // What is on this machine may do without TLS; nothing else may.
      if (protocol === 'https:' || (protocol === 'http:' && issuer.startsWith('http:'))) continue;
      throw new ProviderFault(
        `the provider's \`${endpoint}\` has to begin with https://, given ${JSON.stringify(given)}`,
      );
    }
    return { library, configuration, keys: await createKeySet(metadata.jwks_uri ?? '', bounded) };
  } catch (error) {
    throw faultIn(error) ?? new ProviderFault(`the provider's metadata cannot be used: ${reasonOf(error)}`, error);
  }
}

/** Proves who the scheduler is, in the way that the provider offers. The secret may change at any time. */
function clientAuthentication(library: typeof import('openid-client'), config: ProviderConfig): ClientAuth {
  const { OIDC_CLIENT_SECRET: given, OIDC_CLIENT_SECRET_FILE: file } = config;
  const secret = file === '' ? () => given : newestText(file, given, (text) => text !== '');
  return (server, client, body, headers) => {
    const text = secret();
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
    const authenticate =
      text === ''
        ? library.None()
        : methods.includes('client_secret_basic')
          ? library.ClientSecretBasic(text)
          : library.ClientSecretPost(text);
    authenticate(server, client, body, headers);
  };
}
