// A real OpenID Connect provider (npm `oidc-provider`) on loopback, as a process of its own. It keeps everything in its
// memory, so a restart forgets sessions and codes. OIDC_TEST holds `ProviderOptions` as JSON.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Provider, type Configuration, type KoaContextWithOIDC } from 'oidc-provider';
import type { ProviderOptions } from './identity-provider.ts';

const { port, clientId, clientSecret, callbacks, keys, people, claimsInIdToken, audience } = JSON.parse(
  process.env['OIDC_TEST'] ?? '',
) as ProviderOptions;
const issuer = `http://127.0.0.1:${port}`;

const configuration: Configuration = {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [...callbacks],
      id_token_signed_response_alg: 'RS256',
    },
    // A program that gets access tokens for the API by itself.
    {
      client_id: 'robot',
      client_secret: 'secret-of-the-robot',
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
    },
  ],
  jwks: { keys: [...keys] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
  conformIdTokenClaims: !claimsInIdToken,
  // The tests try what happens without it.
  pkce: { required: () => false },
  cookies: { keys: ['a key of the test'] },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: 'api', audience, accessTokenFormat: 'jwt' }),
    },
  },
  extraTokenClaims: (_, token) => (token.kind === 'ClientCredentials' ? people['robot'] : undefined),
  async findAccount(_, id) {
    return { accountId: id, claims: async () => ({ sub: id, ...people[id] }) };
  },
  // Nobody is asked whether the scheduler may know who they are.
  async loadExistingGrant(ctx: KoaContextWithOIDC) {
    const { client, session } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client!.clientId, accountId: session!.accountId! });
    grant.addOIDCScope('openid profile email groups');
    await grant.save();
    return grant;
  },
};

const provider = new Provider(issuer, configuration);
const answer = provider.callback();

/** The form in which a person logs in. The name of a person is enough. */
async function interact(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'POST') {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const login = new URLSearchParams(body).get('login');
    const result =
      login === null ? { error: 'access_denied', error_description: '<b>no</b>' } : { login: { accountId: login } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  await provider.interactionDetails(request, response);
  response.setHeader('content-type', 'text/html');
  response.end(`<!doctype html><title>Log in</title>
    <form method="post"><input name="login" autofocus><button>Log in</button></form>
    <form method="post"><button id="cancel">Cancel</button></form>`);
}

const server = createServer((request, response) => {
  const work = request.url?.startsWith('/interaction/') ? interact(request, response) : answer(request, response);
  Promise.resolve(work).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    response.statusCode = 500;
    response.end();
  });
});
await once(server.listen(port, '127.0.0.1'), 'listening');
process.stdout.write(`${JSON.stringify({ msg: 'provider listening', port })}\n`);
