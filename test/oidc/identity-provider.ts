import { exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from 'jose';
import { freePort } from '../../scripts/stores/private-server.ts';
import { startProcess, type TestProcess } from '../harness/processes.ts';

/** What the process of the provider is told. */
export interface ProviderOptions {
  readonly port: number;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly callbacks: readonly string[];
  /** Private keys. The first one signs. */
  readonly keys: readonly JWK[];
  /** Claims of people by what they log in with. */
  readonly people: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Whether the ID token has all claims. By the specification it has not: UserInfo has them. */
  readonly claimsInIdToken: boolean;
  /** Audience of access tokens for the API. */
  readonly audience: string;
}

export interface IdentityProvider {
  readonly issuer: string;
  readonly options: ProviderOptions;
  /** Settings of an API that uses this provider, without `PUBLIC_URL` and the file of grants. */
  readonly env: Record<string, string>;
  /** Signs a token with a key of the provider. By default, it is a valid access token of Anna. */
  sign(
    claims?: Readonly<Record<string, unknown>>,
    header?: { readonly kid?: string; readonly typ?: string },
  ): Promise<string>;
  /** Asks the provider for an access token, as a program does. */
  robotToken(): Promise<string>;
  stop(): Promise<void>;
  /** Starts it again on the same port, perhaps with other keys. */
  start(changes?: Partial<ProviderOptions>): Promise<void>;
}

export const AUDIENCE = 'https://tasks.example.org/api';

export const PEOPLE = {
  anna: { email: 'anna@example.org', email_verified: true, groups: ['staff', 'scheduler-admins'] },
  shop: { email: 'shop@example.org', groups: ['shop'] },
  stranger: { email: 'stranger@example.org', email_verified: true, groups: ['staff'] },
  unverified: { email: 'anna@example.org', email_verified: false, groups: ['scheduler-admins'] },
  nameless: { groups: ['scheduler-admins'] },
  groupless: { email: 'groupless@example.org', email_verified: true },
  robot: { email: 'robot@example.org', email_verified: true, groups: ['shop'] },
} as const;

export const GRANTS = JSON.stringify([
  { value: 'scheduler-admins', role: 'admin' },
  { value: 'shop', role: 'operator', queues: ['shop.*'] },
]);

export async function makeKey(kid: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' };
}

/** Makes a provider that is not started yet. */
export async function makeIdentityProvider(given: Partial<ProviderOptions> = {}): Promise<IdentityProvider> {
  let options: ProviderOptions = {
    port: await freePort(),
    clientId: 'scheduler',
    clientSecret: 'a secret of the scheduler: with % and +',
    callbacks: [],
    keys: [await makeKey('first')],
    people: PEOPLE,
    claimsInIdToken: false,
    audience: AUDIENCE,
    ...given,
  };
  const issuer = `http://127.0.0.1:${options.port}`;
  let running: TestProcess | undefined;
  return {
    issuer,
    get options() {
      return options;
    },
    env: {
      AUTH: 'keys',
      OIDC_ISSUER: issuer,
      OIDC_CLIENT_ID: options.clientId,
      OIDC_CLIENT_SECRET: options.clientSecret,
      OIDC_SCOPES: 'openid email groups',
      OIDC_AUDIENCE: options.audience,
    },
    async sign(claims = {}, header = {}) {
      const [key] = options.keys as [JWK];
      const now = Math.floor(Date.now() / 1_000);
      const payload = {
        iss: issuer,
        aud: options.audience,
        sub: 'anna',
        iat: now,
        exp: now + 60,
        ...options.people['anna'],
        ...claims,
      };
      return new SignJWT(payload)
        .setProtectedHeader({ alg: 'RS256', kid: key.kid ?? '', ...header })
        .sign(await importJWK(key, 'RS256'));
    },
    async robotToken() {
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${Buffer.from('robot:secret-of-the-robot').toString('base64')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'api', resource: options.audience }),
      });
      const { access_token: token, ...rest } = (await response.json()) as { access_token?: string };
      if (token === undefined) throw new Error(JSON.stringify(rest));
      return token;
    },
    async stop() {
      running?.signal('SIGTERM');
      await running?.waitForExit();
      running = undefined;
    },
    async start(changes = {}) {
      options = { ...options, ...changes };
      running = startProcess(['node', 'test/oidc/provider-process.ts'], { OIDC_TEST: JSON.stringify(options) });
      await running.waitForLine(({ msg }) => msg === 'provider listening');
    },
  };
}
