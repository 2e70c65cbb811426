import { describe, expect, it } from 'vitest';
import { mayReach, type Peer } from './reachability.ts';
import {
  BASE,
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

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const base = render();

describe('who calls the Kubernetes API', () => {
  const cost = render({ set: ['workers.default.podDeletionCost=true', 'workers.other={"queues":["other"]}'] });
  const named = (objects: readonly KubernetesObject[], kind: string): string[] =>
    objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);

  it.each([...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)])(
    '%s: only pods whose account has rights mount a token',
    (...values) => {
      const objects = render({ values });
      const accounts = objects
        .filter(({ kind }) => kind === 'RoleBinding')
        .map((binding: Loose) => binding.subjects[0].name);
      for (const { owner, spec } of podsOf(objects)) {
        if (spec.automountServiceAccountToken !== false) expect(accounts, owner).toContain(spec.serviceAccountName);
        else expect(accounts, owner).not.toContain(spec.serviceAccountName ?? 'default');
      }
    },
  );

  it('each account has only the rights that it needs, in its own namespace', () => {
    const rules = (objects: readonly KubernetesObject[], name: string): Loose =>
      (only(objects, 'Role', name) as Loose).rules;
    expect(named(cost, 'Role')).toEqual(['r-scheduler-reclaimer', 'r-scheduler-worker-default']);
    expect(rules(cost, '-reclaimer')).toEqual([{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }]);
    expect(rules(cost, '-worker-default')).toEqual([{ apiGroups: [''], resources: ['pods'], verbs: ['patch'] }]);
    for (const name of named(cost, 'RoleBinding')) {
      const binding = cost.find(({ kind, metadata }) => kind === 'RoleBinding' && metadata.name === name) as Loose;
      expect(binding.roleRef).toEqual({ apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name });
      expect(binding.subjects).toEqual([{ kind: 'ServiceAccount', name, namespace: 'test' }]);
    }
  });

  it('only a group that runs Jobs has rights on them, in the namespace in which they run', () => {
    const jobs = { enabled: true, images: ['registry.example.com/team/*', 'busybox:1'] };
    const set = (namespace: string): string[] => [
      `workers.default=${JSON.stringify({ podDeletionCost: true, kubernetesJobs: { ...jobs, namespace } })}`,
      'workers.other={"queues":["other"]}',
    ];
    const roles = (namespace: string): Loose[] =>
      render({ set: set(namespace) }).filter(
        ({ kind, metadata }) => kind === 'Role' && metadata.name.includes('worker'),
      );
    const onJobs = [
      { apiGroups: ['batch'], resources: ['jobs'], verbs: ['create', 'get', 'list', 'delete'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['list'] },
      { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
    ];
    const onPods = { apiGroups: [''], resources: ['pods'], verbs: ['patch'] };
    expect(roles('').map(({ metadata, rules }) => [metadata.namespace, rules])).toEqual([
      ['test', [onPods, ...onJobs]],
    ]);
    expect(roles('jobs').map(({ metadata, rules }) => [metadata.namespace, rules])).toEqual([
      ['jobs', onJobs],
      ['test', [onPods]],
    ]);
    const group = (name: string): Loose =>
      only(render({ set: set('jobs') }), 'Deployment', `-worker-${name}`).spec.template.spec;
    const [worker] = group('default').containers;
    expect(env(worker, 'KUBERNETES_JOBS').value).toBe('true');
    expect(env(worker, 'KUBERNETES_JOBS_IMAGES').value).toBe('registry.example.com/team/*,busybox:1');
    expect(env(worker, 'KUBERNETES_JOBS_NAMESPACE').value).toBe('jobs');
    expect([group('other').automountServiceAccountToken, group('other').serviceAccountName]).toEqual([
      false,
      'r-scheduler',
    ]);
  });

  it('by default, the reclaimer reads pods and workers know the name and namespace of their pod', () => {
    const { spec } = only(base, 'CronJob').spec.jobTemplate.spec.template;
    expect([spec.serviceAccountName, spec.automountServiceAccountToken]).toEqual(['r-scheduler-reclaimer', true]);
    expect(env(spec.containers[0], 'KUBERNETES_POD_CHECK').value).toBe('auto');
    expect(named(base, 'Role')).toEqual(['r-scheduler-reclaimer']);
    const [worker] = only(base, 'Deployment', '-worker-default').spec.template.spec.containers;
    expect(env(worker, 'POD_NAME').valueFrom.fieldRef.fieldPath).toBe('metadata.name');
    expect(env(worker, 'POD_NAMESPACE').valueFrom.fieldRef.fieldPath).toBe('metadata.namespace');

    const off = render({ set: ['reclaimer.podCheck=false'] });
    const { spec: plain } = only(off, 'CronJob').spec.jobTemplate.spec.template;
    expect([plain.serviceAccountName, plain.automountServiceAccountToken]).toEqual(['r-scheduler', false]);
    expect(env(plain.containers[0], 'KUBERNETES_POD_CHECK').value).toBe('off');
    expect([...named(off, 'Role'), ...named(off, 'RoleBinding')]).toEqual([]);
    expect(named(off, 'ServiceAccount')).toEqual(['r-scheduler']);
  });

  it('only workers of groups with podDeletionCost write their deletion cost', () => {
    const of = (name: string): Loose => only(cost, 'Deployment', `-worker-${name}`).spec.template.spec;
    expect(env(of('default').containers[0], 'POD_DELETION_COST').value).toBe('true');
    expect(of('default').automountServiceAccountToken).toBe(true);
    expect(env(of('other').containers[0], 'POD_DELETION_COST')).toBeUndefined();
    expect(of('other').automountServiceAccountToken).toBe(false);
  });

  it('accounts and Roles can be left to the user', () => {
    const objects = render({ set: ['serviceAccount={"create":false,"name":"ours","roles":false}'] });
    expect([...named(objects, 'ServiceAccount'), ...named(objects, 'Role'), ...named(objects, 'RoleBinding')]).toEqual(
      [],
    );
    expect(only(objects, 'CronJob').spec.jobTemplate.spec.template.spec.serviceAccountName).toBe('ours');
  });

  it('network policies allow the calls', () => {
    const toKubernetes = { ports: [443, 6443].map((port) => ({ protocol: 'TCP', port })) };
    const egress = (objects: readonly KubernetesObject[], component: string): Loose[] =>
      only(objects, 'NetworkPolicy', `-${component}`).spec.egress;
    expect(egress(base, 'reclaimer')).toContainEqual(toKubernetes);
    expect(egress(render({ set: ['reclaimer.podCheck=false'] }), 'reclaimer')).not.toContainEqual(toKubernetes);
    expect(egress(base, 'worker')).not.toContainEqual(toKubernetes);
    expect(egress(cost, 'worker')).toContainEqual(toKubernetes);
  });
});

describe('network policies', () => {
  const policies = (values: string): Loose =>
    Object.fromEntries(
      render({ values: [values] })
        .filter(({ kind }) => kind === 'NetworkPolicy')
        .map(({ spec }) => [spec.podSelector.matchLabels['app.kubernetes.io/component'], spec]),
    );

  it('cover every component in both directions', () => {
    const found = policies(BASE);
    expect(Object.keys(found).toSorted()).toEqual([
      'api',
      'migrations',
      'postgresql',
      'reclaimer',
      'redis',
      'test',
      'worker',
    ]);
    for (const spec of Object.values<Loose>(found)) expect(spec.policyTypes).toEqual(['Ingress', 'Egress']);
    expect(found.worker.ingress).toEqual([
      { ports: [{ protocol: 'TCP', port: 'metrics' }], from: [{ namespaceSelector: {} }] },
    ]);
    expect([found.reclaimer.ingress, found.postgresql.egress]).toEqual([undefined, undefined]);
  });

  it('let every component reach only what it needs', () => {
    const rules = base.filter(({ kind }) => kind === 'NetworkPolicy');
    const peers = new Map<string, Peer>(
      podsOf(base).map(({ metadata, spec }) => {
        const ports = containersOf({ spec }).flatMap((container) => container.ports ?? []);
        const byName = Object.fromEntries(ports.map(({ name, containerPort }: Loose) => [name, containerPort]));
        return [
          metadata.labels['app.kubernetes.io/component'],
          { namespace: 'test', labels: metadata.labels, ports: byName },
        ];
      }),
    );
    peers.set('stranger', { namespace: 'elsewhere', labels: {} });
    const open = (port: number, to: string): string[] =>
      [...peers.keys()].filter((from) => from !== to && mayReach(rules, peers.get(from)!, peers.get(to)!, port));
    const own = ['api', 'migrations', 'reclaimer', 'worker'];
    expect(open(5432, 'postgresql').toSorted()).toEqual(own);
    expect(open(6379, 'redis').toSorted()).toEqual(own);
    expect(open(8000, 'api').toSorted()).toEqual(['stranger', 'test']);
    expect(open(9464, 'worker')).toEqual(['stranger']);
    expect(open(9464, 'api')).toEqual(['stranger']);
    expect([...open(22, 'postgresql'), ...open(22, 'worker'), ...open(80, 'reclaimer')]).toEqual([]);
    const names = { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } };
    for (const component of [...own, 'test'])
      for (const udp of [true, false])
        expect(mayReach(rules, peers.get(component)!, names, 53, udp), component).toBe(true);
    expect(mayReach(rules, peers.get('postgresql')!, names, 53, true)).toBe(false);
  });

  it('let `helm test` call the API in any case', () => {
    const { matchLabels } = only(base, 'NetworkPolicy', '-test').spec.podSelector;
    expect(only(base, 'Pod').metadata.labels).toMatchObject(matchLabels);
    expect(policies(BASE).api.ingress[0]).toEqual({ ports: [{ protocol: 'TCP', port: 'http' }] });
    const { from } = policies(EVERYTHING).api.ingress[0];
    expect(from).toHaveLength(2);
    expect(from[1].podSelector.matchLabels['app.kubernetes.io/component']).toBe('test');
  });

  it('let only those read metrics who may, also where everybody may call the API', () => {
    const port = { ports: [{ protocol: 'TCP', port: 'metrics' }] };
    expect(policies(BASE).api.ingress[1]).toEqual({ ...port, from: [{ namespaceSelector: {} }] });
    expect(policies(EVERYTHING).api.ingress[1]).toEqual(policies(EVERYTHING).worker.ingress[0]);
    expect(policies(EVERYTHING).api.ingress[1].from).not.toEqual([{ namespaceSelector: {} }]);
  });

  it('allow only workers to reach addresses outside, except the metadata address', () => {
    const found = policies(BASE);
    const open = (spec: Loose): Loose[] =>
      spec.egress.flatMap((rule: Loose) => rule.to ?? []).filter((peer: Loose) => peer.ipBlock !== undefined);
    expect(open(found.api)).toEqual([]);
    expect(open(policies(EVERYTHING).worker)).toEqual([{ ipBlock: { cidr: '203.0.113.0/24' } }]);
  });

  it('allow external stores by port and address', () => {
    const { api } = policies('charts/scheduler/ci/external-values.yaml');
    expect(api.egress.at(-1)).toEqual({
      ports: [6432, 5432, 6379].map((port) => ({ protocol: 'TCP', port })),
      to: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
    });
  });
});
