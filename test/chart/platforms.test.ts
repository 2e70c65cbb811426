import { describe, expect, it } from 'vitest';
import { covers, networkOf } from '../../src/config/networks.ts';
import { METADATA_ADDRESSES } from '../../src/handlers/http/refused-addresses.ts';
import { mayReach, type Peer } from './reachability.ts';
import {
  CI_VALUES,
  containersOf,
  env,
  K8S_VALUES,
  type KubernetesObject,
  type Loose,
  only,
  podsOf,
  render,
  withStores,
} from './render.ts';

const ALL = [...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)];
const JOBS = { enabled: true, images: ['a'], namespace: 'jobs' };
const jobs = (more: object = {}): string => `workers.default.kubernetesJobs=${JSON.stringify({ ...JOBS, ...more })}`;

/** Returns the network policy of a component. */
const policy = (objects: readonly KubernetesObject[], component: string): Loose =>
  objects.find(
    ({ kind, spec }) =>
      kind === 'NetworkPolicy' && spec.podSelector.matchLabels['app.kubernetes.io/component'] === component,
  )?.spec;

describe('clusters that assign user ids, such as OpenShift', () => {
  it('get pods without fixed ids, but with all other restrictions', () => {
    const without = '={"runAsUser":null,"runAsGroup":null,"fsGroup":null}';
    const set = ['podSecurityContext', 'postgresql.podSecurityContext', 'redis.podSecurityContext'].map(
      (path) => path + without,
    );
    for (const { owner, spec } of podsOf(render({ set })))
      expect(spec.securityContext, owner).toEqual({
        runAsNonRoot: true,
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      });
  });

  it('may extend the security context of every container', () => {
    for (const pod of podsOf(render({ set: ['containerSecurityContext.seLinuxOptions={"level":"s0"}'] })))
      for (const { securityContext } of containersOf(pod))
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
          seLinuxOptions: { level: 's0' },
        });
  });

  it('may resolve names on the ports of their DNS pods', () => {
    const objects = render({ set: ['networkPolicy.dnsPorts=[53,5353]'] });
    const rules = objects.filter(({ kind }) => kind === 'NetworkPolicy');
    const names: Peer = { namespace: 'openshift-dns', labels: {} };
    for (const component of ['api', 'worker', 'reclaimer', 'migrations', 'test'])
      for (const udp of [true, false])
        for (const port of [53, 5353]) {
          const pod = podsOf(objects).find(
            ({ metadata }) => metadata.labels['app.kubernetes.io/component'] === component,
          )!;
          const from = { namespace: 'test', labels: pod.metadata.labels };
          expect(mayReach(rules, from, names, port, udp), `${component} ${port}`).toBe(true);
        }
  });
});

describe('clusters with IPv6 only', () => {
  it('let processes listen on the address of the setting', () => {
    const objects = render({ set: ['config.HOST="::"'] });
    for (const name of ['-api', '-worker-default'])
      expect(env(only(objects, 'Deployment', name).spec.template.spec.containers[0], 'HOST').value).toBe('::');
  });
});

describe('metadata addresses of clouds', () => {
  const objects = render({ set: [jobs()] });

  it.each(['worker', 'job'])('are blocked for %s pods if http.request refuses them', (component) => {
    const closed = policy(objects, component).egress.flatMap((rule: Loose) =>
      (rule.to ?? []).flatMap((peer: Loose) => peer.ipBlock?.except ?? []),
    );
    for (const address of METADATA_ADDRESSES.map(networkOf))
      expect(
        closed.some((range: string) => covers(networkOf(range), address)),
        String(address.base),
      ).toBe(true);
    for (const each of policy(objects, component).egress.flatMap((rule: Loose) => rule.to ?? []))
      for (const range of each.ipBlock?.except ?? [])
        expect(covers(networkOf(each.ipBlock.cidr), networkOf(range)), range).toBe(true);
  });

  it('can be changed, also to an empty list', () => {
    const worker = (addresses: string): Loose[] =>
      policy(render({ set: [`networkPolicy.metadataAddresses=${addresses}`] }), 'worker')
        .egress.flatMap((rule: Loose) => rule.to ?? [])
        .filter((peer: Loose) => peer.ipBlock !== undefined);
    expect(worker('["192.0.2.9/32"]')).toEqual([
      { ipBlock: { cidr: '0.0.0.0/0', except: ['192.0.2.9/32'] } },
      { ipBlock: { cidr: '::/0' } },
    ]);
    expect(worker('[]')).toEqual([{ ipBlock: { cidr: '0.0.0.0/0' } }, { ipBlock: { cidr: '::/0' } }]);
  });
});

describe('additional egress rules', () => {
  it.each([
    ['api', 'apiEgress'],
    ['worker', 'workerEgress'],
    ['job', 'jobEgress'],
    ['reclaimer', 'reclaimerEgress'],
    ['migrations', 'migrationsEgress'],
  ])('only %s gets the rules of %s', (component, value) => {
    const rule = { ports: [{ port: 4318 }] };
    const objects = render({ set: [jobs(), `networkPolicy.${value}=${JSON.stringify([rule])}`] });
    const having = objects
      .filter(({ kind, spec }) => kind === 'NetworkPolicy' && JSON.stringify(spec.egress ?? []).includes('4318'))
      .map(({ spec }) => spec.podSelector.matchLabels['app.kubernetes.io/component']);
    expect(having).toEqual([component]);
    expect(policy(objects, component).egress).toContainEqual(rule);
  });
});

describe('pods of kubernetes.job', () => {
  const labelsOf = (objects: readonly KubernetesObject[]): Record<string, string> => {
    const [worker] = only(objects, 'Deployment', '-worker-default').spec.template.spec.containers;
    return Object.fromEntries(
      env(worker, 'KUBERNETES_JOBS_LABELS')
        .value.split(',')
        .map((each: string) => each.split('=')),
    );
  };

  it('match a policy in their namespace that allows DNS and outside addresses, but no ingress', () => {
    const objects = render({ set: [jobs()] });
    const found = objects.filter(
      ({ kind, metadata }: Loose) => kind === 'NetworkPolicy' && metadata.namespace === 'jobs',
    );
    expect(found).toHaveLength(1);
    expect(labelsOf(objects)).toEqual(found[0]!.spec.podSelector.matchLabels);
    const job: Peer = { namespace: 'jobs', labels: labelsOf(objects) };
    const stranger: Peer = { namespace: 'jobs', labels: {} };
    expect(mayReach(found, stranger, job, 80)).toBe(false);
    expect(mayReach(found, job, { namespace: 'kube-system', labels: {} }, 53, true)).toBe(true);
    const shut = policy(render({ set: [jobs(), 'networkPolicy.jobsMayCallOut=false'] }), 'job');
    expect(shut.egress).toHaveLength(1);
    expect(
      render({ set: [jobs(), 'networkPolicy.enabled=false'] }).filter(({ kind }) => kind === 'NetworkPolicy'),
    ).toEqual([]);
  });

  it('match no selector of a Service, Deployment or disruption budget', () => {
    const objects = render({ set: [jobs({ namespace: '' })] });
    const labels = labelsOf(objects);
    for (const { kind, metadata, spec } of objects) {
      const selector = kind === 'Service' ? spec.selector : spec?.selector?.matchLabels;
      if (selector === undefined) continue;
      expect(
        Object.entries(selector).every(([key, value]) => labels[key] === value),
        `${kind} ${metadata.name}`,
      ).toBe(false);
    }
  });

  it("get the image's pull secrets, or their own", () => {
    const secrets = (set: readonly string[]): string | undefined =>
      env(
        only(
          render({ set: ['image.pullSecrets=[{"name":"a"},{"name":"b"}]', ...set] }),
          'Deployment',
          '-worker-default',
        ).spec.template.spec.containers[0],
        'KUBERNETES_JOBS_PULL_SECRETS',
      )?.value;
    expect(secrets([jobs()])).toBe('a,b');
    expect(secrets([jobs({ pullSecrets: [{ name: 'c' }] })])).toBe('c');
    expect(secrets([])).toBeUndefined();
  });

  it('of releases with the same name may share a namespace without a collision', () => {
    const group = 'g'.repeat(20);
    const set = [`workers={"default":null,"${group}":{"queues":["q"],"kubernetesJobs":${JSON.stringify(JOBS)}}}`];
    const names = (namespace: string, release = 'r'): string[] =>
      render({ namespace, release, set })
        .filter(({ metadata }: Loose) => metadata.namespace === 'jobs')
        .map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const [a, b] = [names('a'), names('b')];
    expect(new Set(a.map((name) => name.split(' ')[0]))).toEqual(new Set(['NetworkPolicy', 'Role', 'RoleBinding']));
    expect(a.filter((name) => b.includes(name))).toEqual([]);
    for (const name of names('a', 'x'.repeat(53))) expect(name.split(' ')[1]!.length).toBeLessThanOrEqual(63);
    const binding = render({ namespace: 'a', set }).find(
      ({ kind, metadata }: Loose) => kind === 'RoleBinding' && metadata.namespace === 'jobs',
    ) as Loose;
    expect(a).toContain(`Role ${binding.roleRef.name}`);
  });
});

describe('the Service of the API', () => {
  it("keeps the clients' addresses if the values request it", () => {
    const set = ['api.service={"type":"LoadBalancer","externalTrafficPolicy":"Local"}'];
    expect(only(render({ set }), 'Service', '-api').spec).toMatchObject({
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
    });
    expect(only(render(), 'Service', '-api').spec.externalTrafficPolicy).toBeUndefined();
  });
});

describe('helm test', () => {
  const queue = (set: readonly string[]): string => only(render({ set }), 'Pod').spec.containers[0].args[3];

  it('uses a queue that has workers', () => {
    expect(queue([])).toBe('default');
    expect(queue(['workers={"default":null,"mail":{"queues":["mail","bulk"]}}'])).toBe('mail');
    expect(queue(['workers={"default":{"replicas":0},"mail":{"queues":["mail"]}}'])).toBe('mail');
    expect(queue(['helmTest.queue="urgent"'])).toBe('urgent');
  });

  it('has the labels and annotations from the values', () => {
    const set = ['helmTest={"podLabels":{"team":"tasks"},"podAnnotations":{"sidecar.istio.io/inject":"false"}}'];
    expect(only(render({ set }), 'Pod').metadata).toMatchObject({
      labels: { team: 'tasks', 'app.kubernetes.io/component': 'test' },
      annotations: { 'sidecar.istio.io/inject': 'false', 'helm.sh/hook': 'test' },
    });
  });
});

describe('KEDA', () => {
  it('accepts credentials of the namespace and of the cluster', () => {
    const trigger = (keda: object): Loose =>
      only(render({ set: [`workers.default.autoscaling=${JSON.stringify({ mode: 'keda', keda })}`] }), 'ScaledObject')
        .spec.triggers[0].authenticationRef;
    expect(trigger({ authenticationRef: 'p' })).toEqual({ name: 'p', kind: 'TriggerAuthentication' });
    expect(trigger({ authenticationRef: 'p', authenticationKind: 'ClusterTriggerAuthentication' })).toEqual({
      name: 'p',
      kind: 'ClusterTriggerAuthentication',
    });
  });
});

describe('tools that compare rendered objects with those in Kubernetes', () => {
  it.each(ALL)('%s: find no empty lists, which Kubernetes would drop', (...values) => {
    const empty: string[] = [];
    const visit = (value: Loose, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      if (Array.isArray(value) && value.length === 0 && !path.includes('Affinity')) empty.push(path);
      for (const [key, each] of Object.entries(value)) visit(each, `${path}.${key}`);
    };
    for (const object of render({ values: values.flat() })) visit(object, `${object.kind} ${object.metadata.name}`);
    expect(empty).toEqual([]);
  });
});
