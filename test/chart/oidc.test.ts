import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import { parseGrants } from '../../src/features/sessions/provider/grants.ts';
import { mount } from './mounted.ts';
import {
  containersOf,
  env,
  helmTemplate,
  type KubernetesObject,
  type Loose,
  only,
  podsOf,
  readText,
  render,
} from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const everything = render({ values: [EVERYTHING] });

const podOf = (objects: readonly KubernetesObject[], name: string): Loose =>
  only(objects, 'Deployment', name).spec.template;
const usual = {
  issuer: 'https://login.example.org',
  clientId: 'scheduler',
  grants: [{ value: 'admins', role: 'admin' }],
};
const oidc = (values: object): string => `auth.oidc=${JSON.stringify(values)}`;
const publicUrl = 'publicUrl="https://tasks.example.org"';
const withProvider = (values: object = {}): KubernetesObject[] =>
  render({ set: [publicUrl, oidc({ ...usual, ...values })] });

describe('people who log in with a provider', () => {
  it('by default there are none', () => {
    const spec = podOf(render(), '-api').spec;
    const names = spec.containers[0].env.map(({ name }: Loose) => name);
    expect(names.filter((name: string) => /^(OIDC|PUBLIC_URL)/.test(name))).toEqual([]);
    expect(spec.volumes.map(({ name }: Loose) => name)).not.toContain('oidc');
    expect(render().filter(({ metadata }) => metadata.name.endsWith('-oidc'))).toEqual([]);
  });

  it('may do what the values say, as the API reads its settings and files', () => {
    const { spec } = podOf(everything, '-api');
    const volume = spec.volumes.find(({ name }: Loose) => name === 'oidc');
    const certificate = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n';
    const secrets = { oidc: { secret: 'the-secret' }, 'company-ca': { 'bundle.pem': certificate } };
    using mounted = mount(everything, volume, secrets);
    const texts = Object.fromEntries(
      (spec.containers[0].env as Loose[])
        .filter(({ name }) => /^(OIDC_|PUBLIC_URL|AUTH$|HOST$)/.test(name))
        .map(({ name, value }) => [name, value.replace('/etc/scheduler/oidc', mounted.directory)]),
    );
    const stores = { DATABASE_URL: 'postgresql://u:p@db/d', REDIS_URL: 'redis://redis:6379/0' };
    const config = readConfig({ ...stores, ...texts });
    expect(config).toMatchObject({
      PUBLIC_URL: 'https://tasks.example.com',
      OIDC_ISSUER: 'https://login.example.com:8443/realms/team',
      OIDC_CLIENT_ID: 'scheduler',
      OIDC_CLIENT_SECRET: 'the-secret',
      OIDC_SCOPES: ['openid', 'email', 'groups'],
      OIDC_GRANTS_CLAIM: 'https://example.com/groups',
      OIDC_NAME_CLAIM: 'preferred_username',
      OIDC_AUDIENCE: 'https://tasks.example.com/api',
      OIDC_ALGORITHMS: ['ES256', 'RS256'],
    });
    const grants = parseGrants(config.OIDC_GRANTS);
    expect(grants.match(['billing', '/team/admins'])?.scopes).toContain('admin');
    expect(grants.match(['billing'])).toEqual({
      value: 'billing',
      scopes: ['read', 'payload'],
      queues: ['billing.*'],
      actions: ['invoice.*'],
    });
  });

  it('are known to the API alone', () => {
    for (const { owner, spec } of podsOf(everything)) {
      for (const container of containersOf({ spec })) {
        const isApi = container.name === 'api';
        const mounts = (container.volumeMounts ?? []).map(({ mountPath }: Loose) => mountPath);
        expect(mounts.includes('/etc/scheduler/oidc'), owner).toBe(isApi);
        expect(env({ env: [], ...container }, 'OIDC_ISSUER') !== undefined, owner).toBe(isApi);
      }
    }
  });

  it('need no secret and no certificates', () => {
    const spec = podOf(withProvider(), '-api').spec;
    expect(env(spec.containers[0], 'OIDC_CLIENT_SECRET_FILE')).toBeUndefined();
    expect(env(spec.containers[0], 'OIDC_CA_FILE')).toBeUndefined();
    expect(spec.volumes.map(({ name }: Loose) => name)).not.toContain('oidc');
  });

  it('a change of the grants replaces the pods of the API, and only these', () => {
    const other = withProvider({ grants: [{ value: 'admins', role: 'viewer' }] });
    expect(podOf(other, '-api')).not.toEqual(podOf(withProvider(), '-api'));
    expect(podOf(other, '-worker-default')).toEqual(podOf(withProvider(), '-worker-default'));
  });

  it('the roles and scopes of a grant are those of a client', () => {
    const { auth } = JSON.parse(readText('charts/scheduler/values.schema.json')).properties;
    const [client] = Object.values<Loose>(auth.properties.clients.patternProperties);
    const grant = auth.properties.oidc.properties.grants.items.properties;
    for (const name of ['role', 'scopes', 'queues', 'actions']) expect(grant[name]).toEqual(client.properties[name]);
  });
});

describe('the network policy of the API', () => {
  const rulesFor = (objects: readonly KubernetesObject[], port: number): Loose[] =>
    only(objects, 'NetworkPolicy', '-api').spec.egress.filter(({ ports }: Loose) =>
      ports.some((each: Loose) => each.port === port),
    );

  it('lets it reach the provider, on its port and at the given addresses', () => {
    expect(rulesFor(render(), 443)).toEqual([]);
    expect(rulesFor(withProvider(), 443)).toEqual([{ ports: [{ protocol: 'TCP', port: 443 }] }]);
    expect(rulesFor(withProvider({ issuer: 'https://login.example.org:8443/realms/x' }), 8443)).toHaveLength(1);
    expect(rulesFor(everything, 8443)).toEqual([
      { ports: [{ protocol: 'TCP', port: 8443 }], to: [{ ipBlock: { cidr: '198.51.100.7/32' } }] },
    ]);
  });
});

describe('values about a provider that are wrong', () => {
  it.each<[string, readonly string[], string]>([
    ['a provider without an address of our own', [oidc(usual)], 'auth.oidc.issuer needs publicUrl'],
    ['no client', [publicUrl, oidc({ ...usual, clientId: '' })], 'needs auth.oidc.clientId'],
    ['no grants', [publicUrl, oidc({ ...usual, grants: [] })], 'needs auth.oidc.grants'],
    [
      'everybody may do everything',
      ['auth.mode="open"', publicUrl, oidc(usual)],
      'auth.oidc.issuer has no effect with auth.mode=open',
    ],
    ['no provider', [oidc({ clientId: 'x' })], 'auth.oidc.clientId has no effect without auth.oidc.issuer'],
    [
      'grants without a provider',
      [oidc({ grants: usual.grants })],
      'auth.oidc.grants has no effect without auth.oidc.issuer',
    ],
    ['a provider without TLS', [publicUrl, oidc({ ...usual, issuer: 'http://login.example.org' })], 'match pattern'],
    ['a path in our address', ['publicUrl="https://tasks.example.org/x"'], 'match pattern'],
    ['no openid', [publicUrl, oidc({ ...usual, scopes: ['email'] })], 'scopes'],
    [
      'an algorithm with a shared key',
      [publicUrl, oidc({ ...usual, algorithms: ['HS256'] })],
      "value must be one of 'RS256'",
    ],
    [
      'no role',
      [publicUrl, oidc({ ...usual, grants: [{ value: 'a' }] })],
      'auth.oidc.grants[0] (a) needs role or scopes',
    ],
    [
      'a role and scopes',
      [publicUrl, oidc({ ...usual, grants: [{ value: 'a', role: 'viewer', scopes: ['read'] }] })],
      'has both role and scopes',
    ],
    [
      'a value twice',
      [publicUrl, oidc({ ...usual, grants: [...usual.grants, { value: 'b', role: 'viewer' }, ...usual.grants] })],
      'auth.oidc.grants[2] (admins) has the same value as auth.oidc.grants[0]',
    ],
    [
      'an unknown role',
      [publicUrl, oidc({ ...usual, grants: [{ value: 'a', role: 'root' }] })],
      "value must be one of 'submitter'",
    ],
    [
      'a setting beside the value',
      ['config.OIDC_ISSUER="https://x"'],
      "additional properties 'OIDC_ISSUER' not allowed",
    ],
    [
      'a variable beside the value',
      ['extraEnv=[{"name":"PUBLIC_URL","value":"x"}]'],
      'the chart itself sets PUBLIC_URL',
    ],
    ['a volume of the chart', ['extraVolumes=[{"name":"oidc","emptyDir":{}}]'], 'the chart has a volume "oidc"'],
    [
      'what may be a secret',
      [publicUrl, oidc({ ...usual, clientSecret: { existingSecret: 'pasted secret!' } })],
      'auth.oidc.clientSecret.existingSecret: expected the name of a Secret; the given value is different, and is not shown',
    ],
  ])('%s: the error says what to change', (_, set, message) => {
    const { error } = helmTemplate({ set });
    expect(error).toContain(message);
    expect(error).not.toContain('pasted secret');
  });
});
