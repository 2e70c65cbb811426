import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import { CLIENT_NAME } from '../../src/core/access/client.ts';
import { createQueuePatterns } from '../../src/core/access/name-patterns.ts';
import { ROLES, SCOPES, type Scope } from '../../src/core/access/scopes.ts';
import { hashOfSecret } from '../../src/core/access/secret.ts';
import { readClientFiles } from '../../src/features/access/directory/client-files.ts';
import { DEFAULT_TERMS, TERM_NAMES } from '../../src/features/access/terms.ts';
import { createHttpSecrets } from '../../src/handlers/http/http-secrets.ts';
import { mount, type Secrets } from './mounted.ts';
import {
  CI_VALUES,
  containersOf,
  env,
  helmTemplate,
  K8S_VALUES,
  type KubernetesObject,
  type Loose,
  only,
  podsOf,
  readText,
  render,
  withStores,
} from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const everything = render({ values: [EVERYTHING] });
const SECRETS = {
  'billing-key': { current: 'b'.repeat(40), next: 'n'.repeat(40) },
  'prometheus-key': { secret: 'p'.repeat(40) },
  'billing-token': { token: 'abc' },
  signing: { secret: 'whsec_x' },
};

const podOf = (objects: readonly KubernetesObject[], name: string): Loose =>
  only(objects, 'Deployment', name).spec.template.spec;
const volumeOf = (spec: Loose, name: string): Loose => spec.volumes.find((each: Loose) => each.name === name);
const volumeNames = (spec: Loose): string[] => spec.volumes.map(({ name }: Loose) => name);
const valueOf = (container: Loose, name: string): string | undefined => env(container, name)?.value;
const clients = (values: object): string => `auth.clients=${JSON.stringify(values)}`;

/** The settings of a pod, as its process reads them. */
function settingsOf(spec: Loose): ReturnType<typeof readConfig> {
  const stores = { DATABASE_URL: 'postgresql://u:p@db/d', REDIS_URL: 'redis://redis:6379/0' };
  const given = spec.containers[0].env as Loose[];
  const texts = Object.fromEntries(
    given.map(({ name, value, valueFrom }) => [name, value ?? valueFrom.fieldRef?.fieldPath]),
  );
  const { HTTP_SIGNING_SECRET_FILE: _, ...readable } = texts;
  return readConfig({ ...readable, ...stores });
}

describe('who may use the API', () => {
  it.each([...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)])(
    '%s: clients with keys, and everybody only on kind and for evaluations',
    (...values) => {
      const expected = values.some((file) => /(kind|evaluation)/.test(file)) ? 'open' : 'keys';
      const [api] = podOf(render({ values }), '-api').containers;
      expect(valueOf(api, 'AUTH')).toBe(expected);
    },
  );

  it('no process but the API knows about clients', () => {
    for (const { owner, spec } of podsOf(everything)) {
      for (const container of containersOf({ spec })) {
        const isApi = container.name === 'api';
        expect(valueOf({ env: [], ...container }, 'AUTH'), owner).toBe(isApi ? 'keys' : undefined);
        expect(valueOf({ env: [], ...container }, 'CLIENTS_DIR'), owner).toBe(
          isApi ? '/etc/scheduler/clients' : undefined,
        );
        const mounts = (container.volumeMounts ?? []).map(({ mountPath }: Loose) => mountPath);
        expect(mounts.includes('/etc/scheduler/clients'), owner).toBe(isApi);
      }
    }
  });

  it('without first clients, nothing is mounted', () => {
    const spec = podOf(render(), '-api');
    expect(valueOf(spec.containers[0], 'CLIENTS_DIR')).toBeUndefined();
    expect(volumeNames(spec)).not.toContain('clients');
    expect(render().filter(({ metadata }) => metadata.name.endsWith('-clients'))).toEqual([]);
  });
});

describe('the first clients', () => {
  const found = async (objects: readonly KubernetesObject[], secrets: Secrets = SECRETS) => {
    using mounted = mount(objects, volumeOf(podOf(objects, '-api'), 'clients'), secrets);
    // The directory is gone as soon as this function returns.
    return await readClientFiles(mounted.directory);
  };

  it('are what the values say, as the API reads the files of the pod', async () => {
    const { clients: read, problems } = await found(everything);
    expect(problems).toEqual([]);
    expect(read.map(({ client, hashes, terms }) => ({ name: client.name, hashes, terms }))).toEqual([
      {
        name: 'billing',
        hashes: [SECRETS['billing-key'].current, SECRETS['billing-key'].next].map(hashOfSecret),
        terms: {
          scopes: ROLES.submitter,
          queues: ['billing.*', 'default'],
          actions: ['invoice.*', 'http.request'],
          limits: {
            ratePerMinute: 600,
            burst: 100,
            unfinishedMax: 10_000,
            delayMaxMs: 7 * 86_400_000,
            timeoutMaxMs: 30 * 60_000,
          },
          note: 'the billing service',
        },
      },
      {
        name: 'prometheus',
        hashes: [hashOfSecret(SECRETS['prometheus-key'].secret)],
        terms: { ...DEFAULT_TERMS, scopes: ['metrics'] },
      },
    ]);
  });

  it('start without a second secret, which is there only while the first one is replaced', async () => {
    const { clients: read } = await found(everything, { ...SECRETS, 'billing-key': { current: 'b'.repeat(40) } });
    expect(read[0]?.hashes).toEqual([hashOfSecret('b'.repeat(40))]);
  });

  it('do not start without their secret or without what they may do', async () => {
    await expect(found(everything, { ...SECRETS, 'billing-key': {} })).rejects.toThrow('has no key current');
    // Without these files, the client would get more than the values say.
    const without = everything.filter(({ metadata }) => !metadata.name.endsWith('-clients'));
    await expect(found(without)).rejects.toThrow('r-tasks-clients has no key billing.actions');
  });

  it('can be described with everything that the API reads, and large numbers keep their form', async () => {
    const objects = render({
      set: [clients({ big: { existingSecret: 's', scopes: ['submit'], unfinishedMax: 1_000_000 } })],
    });
    expect(only(objects, 'ConfigMap', '-clients').data).toEqual({
      'big.scopes': 'submit',
      'big.unfinished-max': '1000000',
    });
    const names = Object.keys(only(everything, 'ConfigMap', '-clients').data).map((key) => key.split('.').at(-1));
    expect(new Set(names)).toEqual(new Set<string>(TERM_NAMES));
  });

  it('may have names with dots', async () => {
    const objects = render({
      set: [clients({ 'a.role': { existingSecret: 's', role: 'viewer' }, a: { existingSecret: 't', role: 'worker' } })],
    });
    const secrets = { s: { secret: 's'.repeat(32) }, t: { secret: 't'.repeat(32) } };
    const { clients: read, problems } = await found(objects, secrets);
    expect(problems).toEqual([]);
    expect(read.map(({ client, terms }) => [client.name, terms.scopes])).toEqual([
      ['a', ROLES.worker],
      ['a.role', ROLES.viewer],
    ]);
  });

  it('have the names and roles that the API knows', () => {
    const { auth } = JSON.parse(readText('charts/scheduler/values.schema.json')).properties;
    const [[name, client]] = Object.entries<Loose>(auth.properties.clients.patternProperties) as [[string, Loose]];
    expect(name).toBe(CLIENT_NAME.source);
    expect(client.properties.role.enum).toEqual(Object.keys(ROLES));
    expect(client.properties.scopes.items.enum).toEqual([...SCOPES]);
  });

  it.each<[string, readonly string[], string]>([
    ['no Secret', [clients({ a: { role: 'viewer' } })], "missing property 'existingSecret'"],
    [
      'an empty Secret',
      [clients({ a: { role: 'viewer', existingSecret: '' } })],
      'auth.clients.a.existingSecret is empty',
    ],
    ['no role', [clients({ a: { existingSecret: 's' } })], 'auth.clients.a needs role or scopes'],
    [
      'a role and scopes',
      [clients({ a: { existingSecret: 's', role: 'viewer', scopes: ['read'] } })],
      'auth.clients.a has both role and scopes: keep one of them',
    ],
    ['an unknown role', [clients({ a: { existingSecret: 's', role: 'root' } })], "value must be one of 'submitter'"],
    ['no queues', [clients({ a: { existingSecret: 's', role: 'viewer', queues: [] } })], 'minItems'],
    ['null as queues', [clients({ a: { existingSecret: 's', role: 'viewer', queues: null } })], 'got null, want array'],
    [
      'a bad queue',
      [clients({ a: { existingSecret: 's', role: 'viewer', queues: ['a*'] } })],
      'does not match pattern',
    ],
    ['a bad name', [clients({ A: { existingSecret: 's', role: 'viewer' } })], "additional properties 'A' not allowed"],
    ['a reserved name', [clients({ self: { existingSecret: 's', role: 'viewer' } })], 'choose another name'],
    ['a note of two lines', [clients({ a: { existingSecret: 's', role: 'viewer', note: 'a\nb' } })], 'match pattern'],
    [
      'one secret for two clients',
      [clients({ a: { existingSecret: 's', role: 'viewer' }, b: { existingSecret: 's', role: 'admin' } })],
      'auth.clients.a and auth.clients.b both use secret in the Secret s',
    ],
    [
      'one key for both secrets of a client',
      [clients({ a: { existingSecret: 's', role: 'viewer', nextSecretKey: 'secret' } })],
      'auth.clients.a and auth.clients.a both use secret in the Secret s',
    ],
    [
      'clients while everybody may do everything',
      ['auth.mode="open"', clients({ a: { existingSecret: 's', role: 'viewer' } })],
      'auth.clients has no effect with auth.mode=open',
    ],
    [
      'a mode of the processes that depends on the address',
      ['auth.mode="auto"'],
      "value must be one of 'keys', 'open'",
    ],
    ['a setting beside the value', ['config.AUTH="open"'], "additional properties 'AUTH' not allowed"],
    ['a variable beside the value', ['extraEnv=[{"name":"AUTH","value":"open"}]'], 'the chart itself sets AUTH'],
    [
      'a volume of the chart',
      ['extraVolumes=[{"name":"clients","emptyDir":{}}]'],
      'the chart has a volume "clients"; choose another name',
    ],
  ])('%s: the error says what to change', (_, set, message) => {
    expect(helmTemplate({ set }).error).toContain(message);
  });

  it('are refused without showing what may be a secret', () => {
    const pasted = 'sch_AAAAAAAA secret!';
    for (const set of [
      clients({ a: { existingSecret: pasted, role: 'viewer' } }),
      `httpRequest.signing.existingSecret=${JSON.stringify(pasted)}`,
      `httpRequest.secrets=${JSON.stringify({ a: { existingSecret: pasted, targets: ['a'] } })}`,
    ]) {
      const { error } = helmTemplate({ set: [set] });
      expect(error).toContain('expected the name of a Secret; the given value is different, and is not shown');
      expect(error).not.toContain('AAAAAAAA');
    }
  });
});

describe('the client of `helm test`', () => {
  const test = (...set: readonly string[]): string => helmTemplate({ set }).error;
  const some = (terms: object): string => clients({ some: { existingSecret: 's', ...terms } });

  it('has to be one of the clients, in a mode with clients', () => {
    expect(test('helmTest.client="other"', some({ role: 'viewer' }))).toContain(
      'helmTest.client=other: expected one of auth.clients (some)',
    );
    expect(test('helmTest.client="other"', 'auth.mode="open"')).toContain('(there are none)');
  });

  it('has to be able to submit a task and to read it', () => {
    const can = (scopes: readonly Scope[]): boolean => scopes.includes('submit') && scopes.includes('read');
    for (const [role, scopes] of Object.entries(ROLES)) {
      const error = test('helmTest.client="some"', some({ role }));
      expect(error === '', role).toBe(can(scopes));
      if (error !== '') expect(error).toContain('give it the role submitter, or choose another client');
    }
    for (const scopes of [['submit'], ['read'], ['read', 'submit']] as const)
      expect(test('helmTest.client="some"', some({ scopes })) === '', scopes.join()).toBe(can(scopes));
  });

  it.each([['default'], ['mail'], ['mail.bulk'], ['mailing']])('has to be allowed to use the queue %s', (queue) => {
    for (const pattern of ['*', 'mail', 'mail.*', 'default']) {
      const error = test(
        'helmTest.client="some"',
        `helmTest.queue="${queue}"`,
        some({ role: 'admin', queues: [pattern] }),
      );
      expect(error === '', pattern).toBe(createQueuePatterns([pattern]).matches(queue));
      if (error !== '')
        expect(error).toContain(`the queue of the test is "${queue}", which auth.clients.some may not use`);
    }
  });
});

describe('host names of requests without a secret', () => {
  const hostsOf = (set: readonly string[], values?: readonly string[]): readonly string[] =>
    settingsOf(podOf(render({ set, ...(values && { values }) }), '-api')).ALLOWED_HOSTS;
  const service = ['r-scheduler-api', 'r-scheduler-api.test', 'r-scheduler-api.test.svc'];
  const own = [...service, 'r-scheduler-api.test.svc.cluster.local'];

  it('are those of the Service, of the Ingress, of the HTTPRoute, and others that are given', () => {
    expect(hostsOf([])).toEqual(own);
    const ingress = ['api.ingress={"enabled":true,"hosts":["a.example.org","*.b.example.org"]}'];
    const route = ['api.httpRoute={"enabled":true,"parentRefs":[{"name":"g"}],"hostnames":["c.example.org"]}'];
    const more = ['api.allowedHosts=["d.example.org","a.example.org"]'];
    expect(hostsOf([...ingress, ...route, ...more])).toEqual([
      ...own,
      'a.example.org',
      '*.b.example.org',
      'c.example.org',
      'd.example.org',
    ]);
    const off = ['api.ingress={"hosts":["a.example.org"]}', 'api.httpRoute={"hostnames":["c.example.org"]}'];
    expect(hostsOf(off)).toEqual(own);
  });

  it.each(['a:8000', 'https://a', 'a b', '*', 'a.*'])('%s is no name', (name) => {
    expect(helmTemplate({ set: [`api.allowedHosts=${JSON.stringify([name])}`] }).error).toContain('match pattern');
  });
});

describe('where workers send requests', () => {
  const workerOf = (...set: readonly string[]): Loose => podOf(render({ set }), '-worker-default');

  it('by default everywhere, without credentials and without signatures', () => {
    const spec = workerOf();
    expect(spec.containers[0].env.filter(({ name }: Loose) => name.startsWith('HTTP_'))).toEqual([]);
    expect(settingsOf(spec).HTTP_TARGETS).toEqual(settingsOf(workerOf('httpRequest.targets=["*"]')).HTTP_TARGETS);
    expect(volumeNames(spec)).toEqual(['tmp']);
  });

  it('to the given servers, or nowhere', () => {
    expect(valueOf(podOf(everything, '-worker-default').containers[0], 'HTTP_TARGETS')).toBe(
      'api.example.org,https://*.example.com:8443',
    );
    expect(settingsOf(podOf(everything, '-worker-default')).HTTP_TARGETS).toHaveLength(2);
    expect(valueOf(workerOf('httpRequest.targets=[]').containers[0], 'HTTP_TARGETS')).toBe('off');
    expect(helmTemplate({ set: ['httpRequest.targets=["http://a/path"]'] }).error).toContain('match pattern');
  });

  it('with secrets that the handler finds, and sends only to the servers that the values name', async () => {
    const spec = podOf(everything, '-worker-default');
    const [worker] = spec.containers;
    expect(valueOf(worker, 'HTTP_SECRETS_DIR')).toBe('/etc/scheduler/http-secrets');
    expect(worker.volumeMounts).toContainEqual({
      name: 'http-secrets',
      mountPath: '/etc/scheduler/http-secrets',
      readOnly: true,
    });
    using mounted = mount(everything, volumeOf(spec, 'http-secrets'), SECRETS);
    const secrets = createHttpSecrets(mounted.directory);
    const read = (url: string) => secrets.read({ secret: 'billing', prefix: '' }, new URL(url));
    expect(await read('https://api.example.org/x')).toBe('abc');
    await expect(read('https://example.com/')).rejects.toThrow('it may not be sent to https://example.com');
    await expect(read('http://api.example.org/')).rejects.toThrow('it may not be sent to http://api.example.org');
  });

  it('with secrets that have servers', () => {
    const secret = (terms: object): string =>
      helmTemplate({ set: [`httpRequest.secrets=${JSON.stringify(terms)}`] }).error;
    expect(secret({ a: { existingSecret: 's' } })).toContain("missing property 'targets'");
    expect(secret({ a: { existingSecret: 's', targets: [] } })).toContain('minItems');
    expect(secret({ a: { existingSecret: '', targets: ['b'] } })).toContain(
      'httpRequest.secrets.a.existingSecret is empty',
    );
  });

  it('signed with a secret from a file', () => {
    const spec = podOf(everything, '-worker-default');
    expect(valueOf(spec.containers[0], 'HTTP_SIGNING_SECRET_FILE')).toBe('/etc/scheduler/signing/secret');
    using mounted = mount(everything, volumeOf(spec, 'signing-secret'), SECRETS);
    expect(mounted.directory).toBeTypeOf('string');
    for (const { owner, spec: other } of podsOf(everything))
      if (!owner.includes('-worker-')) expect(volumeNames(other), owner).not.toContain('signing-secret');
  });
});
