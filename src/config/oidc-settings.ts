import { z } from 'zod';
import { isLoopback } from './loopback.ts';
import { certificates, listOf } from './setting-kinds.ts';

/** Algorithms of signatures that may be allowed. All are asymmetric: a client never shares a key with the provider. */
const SIGNATURES = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;

/** Returns what is wrong with the address of a provider, or null. */
function problemOfIssuer(text: string): string | null {
  const url = URL.parse(text);
  if (url === null) return 'expected an address such as https://login.example.org';
  if (
    url.protocol !== 'https:' &&
    !(url.protocol === 'http:' && isLoopback(url.hostname.replace(/^\[(.*)\]$/, '$1')))
  ) {
    return 'expected https:// (http:// only for a provider on this machine)';
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    return 'expected an address without user, password, query and fragment';
  }
  return null;
}

/** A name of a claim. Names that are addresses, such as `https://example.org/groups`, are usual. */
const claim = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .refine((text) => /^[\x21-\x7e]{1,200}$/.test(text), 'expected the name of a claim, without spaces');

const optional = () => z.string().default('');

/**
 * Logging in by OpenID Connect. Kept apart from the other settings because they concern one thing only, and none of them
 * has an effect without `OIDC_ISSUER`.
 */
export const OIDC_SETTINGS = {
  OIDC_ISSUER: optional()
    .superRefine((text, context) => {
      const message = text === '' ? null : problemOfIssuer(text);
      if (message !== null) context.addIssue({ code: 'custom', message });
    })
    .describe(
      'OpenID Connect provider with which people log in, exactly as it calls itself (`issuer`); if empty, nobody logs in by a provider ([access.md](access.md#openid-connect))',
    ),
  OIDC_CLIENT_ID: optional().describe('the name under which the provider knows the scheduler'),
  OIDC_CLIENT_SECRET: optional().describe(
    'secret with which the scheduler proves to the provider who it is; if empty, it is a public client, which proves nothing',
  ),
  OIDC_CLIENT_SECRET_FILE: optional().describe(
    'file that holds OIDC_CLIENT_SECRET; read again for each login, so that it can be rotated',
  ),
  OIDC_SCOPES: z
    .string()
    .default('openid profile email')
    .transform((text) => text.split(/[\s,]+/).filter((part) => part !== ''))
    .refine((scopes) => scopes.includes('openid'), 'expected scopes separated by spaces, `openid` among them')
    .refine((scopes) => scopes.every((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope)), 'expected printable ASCII')
    .describe('scopes that a login asks the provider for, separated by spaces; they decide which claims it gives'),
  OIDC_GRANTS_CLAIM: claim('groups').describe(
    'claim whose value, or list of values, OIDC_GRANTS maps to what a person may do',
  ),
  OIDC_NAME_CLAIM: claim('email').describe(
    'claim that names the person, in lists and in the audit log; it has to be one that belongs to one person for ever',
  ),
  OIDC_GRANTS: optional().describe(
    'what people with which value of OIDC_GRANTS_CLAIM may do: a JSON list such as `[{"value": "scheduler-admins", "role": "admin"}]` ([access.md](access.md#who-may-do-what))',
  ),
  OIDC_GRANTS_FILE: optional().describe('file that holds OIDC_GRANTS; read when the process starts'),
  OIDC_AUDIENCE: optional().describe(
    "audience (`aud`) of the provider's access tokens (JWT) that the API accepts instead of a secret; if empty, it accepts none",
  ),
  OIDC_ALGORITHMS: listOf('RS256,PS256,ES256,EdDSA', (item) =>
    (SIGNATURES as readonly string[]).includes(item) ? null : `expected some of ${SIGNATURES.join(', ')}`,
  )
    .refine((names) => names.length > 0, 'must name at least one algorithm')
    .describe("algorithms that the provider's signatures may have, comma-separated"),
  OIDC_CA_FILE: certificates().describe(
    'file with the certificates (PEM) of the authority that must have signed the certificate of the provider; if empty, those that Node.js trusts',
  ),
} as const;
