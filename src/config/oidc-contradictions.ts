import { authModeOf } from './auth-mode.ts';
import type { Config } from './env.ts';

type OidcConfig = Pick<
  Config,
  | 'AUTH'
  | 'HOST'
  | 'PUBLIC_URL'
  | 'OIDC_ISSUER'
  | 'OIDC_CLIENT_ID'
  | 'OIDC_CLIENT_SECRET'
  | 'OIDC_GRANTS'
  | 'OIDC_AUDIENCE'
  | 'OIDC_CA_FILE'
>;

/** Settings that have no effect without a provider: whoever sets one has forgotten the provider, or to remove it. */
const NEEDS_ISSUER = ['OIDC_CLIENT_ID', 'OIDC_CLIENT_SECRET', 'OIDC_GRANTS', 'OIDC_AUDIENCE', 'OIDC_CA_FILE'] as const;

/** What a provider needs, and why. */
const NEEDED = {
  OIDC_CLIENT_ID: 'the name under which the provider knows the scheduler',
  OIDC_GRANTS: 'without it, nobody who logs in may do anything',
  PUBLIC_URL: 'the provider sends browsers back to it',
} as const;

export function oidcProblems(config: OidcConfig): string[] {
  if (config.OIDC_ISSUER === '') {
    return NEEDS_ISSUER.filter((name) => config[name] !== '').map(
      (name) => `OIDC_ISSUER: missing; ${name} is set, which has no effect without it`,
    );
  }
  const problems = Object.entries(NEEDED)
    .filter(([name]) => config[name as keyof typeof NEEDED] === '')
    .map(([name, why]) => `${name}: missing; OIDC_ISSUER is set, and ${why}`);
  if (authModeOf(config) === 'open') {
    const given = config.AUTH === 'auto' ? `AUTH=auto with HOST=${config.HOST}` : 'AUTH=open';
    problems.push(
      `AUTH: expected keys, because OIDC_ISSUER is set; given ${given}, with which nobody has to say who they are`,
    );
  }
  if (config.OIDC_CA_FILE !== '' && config.OIDC_ISSUER.startsWith('http:')) {
    problems.push('OIDC_CA_FILE: needs an OIDC_ISSUER that begins with https://, otherwise no certificate is checked');
  }
  return problems;
}
