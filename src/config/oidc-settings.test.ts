import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from './read-config.ts';

const stores = { DATABASE_URL: 'postgresql://u:p@h/d', REDIS_URL: 'redis://h' };
const usual = {
  ...stores,
  PUBLIC_URL: 'https://tasks.example.org',
  OIDC_ISSUER: 'https://login.example.org/realms/main',
  OIDC_CLIENT_ID: 'scheduler',
  OIDC_GRANTS: '[{"value":"admins","role":"admin"}]',
};

function problemsOf(env: Record<string, string>): string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
}

describe('settings of a provider', () => {
  it('have defaults, and nothing is set by default', () => {
    expect(readConfig(stores)).toMatchObject({ OIDC_ISSUER: '', OIDC_AUDIENCE: '' });
    expect(readConfig(usual)).toMatchObject({
      OIDC_SCOPES: ['openid', 'profile', 'email'],
      OIDC_GRANTS_CLAIM: 'groups',
      OIDC_NAME_CLAIM: 'email',
      OIDC_ALGORITHMS: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    });
  });

  it.each(['https://login.example.org', 'http://127.0.0.1:8080', 'http://localhost/realms/x', 'http://[::1]:8080'])(
    '%s may be a provider',
    (issuer) => {
      expect(problemsOf({ ...usual, OIDC_ISSUER: issuer })).toEqual([]);
    },
  );

  it.each<[string, string, string]>([
    ['OIDC_ISSUER', 'login.example.org', 'expected an address such as https://login.example.org'],
    ['OIDC_ISSUER', 'http://login.example.org', 'expected https:// (http:// only for a provider on this machine)'],
    ['OIDC_ISSUER', 'http://127.0.0.1.example.org', 'expected https://'],
    ['OIDC_ISSUER', 'ftp://localhost', 'expected https://'],
    ['OIDC_ISSUER', 'https://user:pass@login.example.org', 'without user, password, query and fragment'],
    ['OIDC_ISSUER', 'https://login.example.org?x=1', 'without user, password, query and fragment'],
    ['OIDC_SCOPES', 'profile email', '`openid` among them'],
    ['OIDC_SCOPES', 'openid "x"', 'expected printable ASCII'],
    ['OIDC_NAME_CLAIM', 'e mail', 'expected the name of a claim'],
    ['OIDC_ALGORITHMS', 'RS256,none', 'expected some of RS256'],
    ['OIDC_ALGORITHMS', 'HS256', 'expected some of RS256'],
    ['OIDC_ALGORITHMS', 'rs256', 'expected some of RS256'],
    ['OIDC_ALGORITHMS', ',', 'must name at least one algorithm'],
    ['OIDC_CA_FILE', '/nonexistent/ca.pem', 'cannot read it'],
  ])('%s=%s is refused', (name, value, problem) => {
    const problems = problemsOf({ ...usual, [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`${name}: `);
    expect(problems[0]).toContain(problem);
    expect(problems[0]).toContain('given ');
  });

  it('never show the secret of the client', () => {
    const problems = problemsOf({ ...stores, OIDC_CLIENT_SECRET: 'very-secret' });
    expect(problems).toEqual(['OIDC_ISSUER: missing; OIDC_CLIENT_SECRET is set, which has no effect without it']);
  });
});

describe('settings that do not go together', () => {
  it.each(['PUBLIC_URL', 'OIDC_CLIENT_ID', 'OIDC_GRANTS'])('a provider without %s', (name) => {
    expect(problemsOf({ ...usual, [name]: '' })).toEqual([
      expect.stringContaining(`${name}: missing; OIDC_ISSUER is set`),
    ]);
  });

  it.each(['OIDC_CLIENT_ID', 'OIDC_GRANTS', 'OIDC_AUDIENCE'])('%s without a provider', (name) => {
    expect(problemsOf({ ...stores, [name]: 'x' })).toEqual([
      `OIDC_ISSUER: missing; ${name} is set, which has no effect without it`,
    ]);
  });

  it('a provider, while nobody has to say who they are', () => {
    expect(problemsOf({ ...usual, AUTH: 'open' })).toEqual([expect.stringContaining('given AUTH=open')]);
    expect(problemsOf({ ...usual, HOST: '127.0.0.1' })).toEqual([
      expect.stringContaining('given AUTH=auto with HOST=127.0.0.1'),
    ]);
    expect(problemsOf({ ...usual, HOST: '127.0.0.1', AUTH: 'keys' })).toEqual([]);
    expect(problemsOf({ ...stores, AUTH: 'open', PUBLIC_URL: 'https://tasks.example.org' })).toEqual([]);
  });
});
