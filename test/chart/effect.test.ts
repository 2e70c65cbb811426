import { describe, expect, it } from 'vitest';
import { documentedValues } from '../../scripts/chart/readme.ts';
import { helmTemplate, readText } from './render.ts';

/** A provider with which people log in. */
const PROVIDER = [
  'publicUrl="https://a.example"',
  'auth.oidc={"issuer":"https://b.example","clientId":"a","grants":[{"value":"a","role":"admin"}]}',
];

/** Other values that a value needs to have an effect, by the beginning of its path. The longest match wins. */
const COMPANY: Readonly<Record<string, readonly string[]>> = {
  // A digest is only for its tag.
  'postgresql.image.tag': ['postgresql.image.digest=""'],
  'redis.image.tag': ['redis.image.digest=""'],
  'trustedCertificates.key': ['trustedCertificates.existingSecret="tls"'],
  'externalDatabase.existingSecret': ['postgresql.enabled=false', 'externalDatabase.existingSecret="db"'],
  'externalDatabase.urlKey': ['postgresql.enabled=false', 'externalDatabase.existingSecret="db"'],
  externalDatabase: ['postgresql.enabled=false', 'externalDatabase={"existingSecret":"db","host":"db"}'],
  'externalRedis.existingSecret': ['redis.enabled=false', 'externalRedis.existingSecret="redis"'],
  'externalRedis.urlKey': ['redis.enabled=false', 'externalRedis.existingSecret="redis"'],
  externalRedis: ['redis.enabled=false', 'externalRedis={"existingSecret":"redis","host":"redis"}'],
  'externalRedis.sentinel': [
    'redis.enabled=false',
    'externalRedis={"existingSecret":"redis","sentinel":{"addresses":["a:26379"],"master":"m"}}',
  ],
  secretsAsFiles: [
    'postgresql.enabled=false',
    'redis.enabled=false',
    'externalDatabase.existingSecret="db"',
    'externalRedis.existingSecret="redis"',
  ],
  'httpRequest.signing.key': ['httpRequest.signing.existingSecret="a"'],
  publicUrl: PROVIDER,
  'auth.oidc': PROVIDER,
  'auth.oidc.clientSecret': [...PROVIDER, 'auth.oidc.clientSecret.existingSecret="a"'],
  'auth.oidc.certificates': [...PROVIDER, 'auth.oidc.certificates.existingSecret="a"'],
  'networkPolicy.oidcTo': PROVIDER,
  'helmTest.client': ['auth.clients={"a":{"existingSecret":"a-key","role":"admin"}}'],
  'api.service.nodePort': ['api.service.type="NodePort"'],
  'api.service.externalTrafficPolicy': ['api.service.type="NodePort"'],
  'api.ingress': ['api.ingress={"enabled":true,"hosts":["a"]}'],
  'api.httpRoute': ['api.httpRoute={"enabled":true,"parentRefs":[{"name":"a"}]}'],
  'workerDefaults.kubernetesJobs': ['workerDefaults.kubernetesJobs={"enabled":true,"images":["a"]}'],
  'workerDefaults.autoscaling': ['workerDefaults.autoscaling.mode="hpa"'],
  'workerDefaults.autoscaling.targetCpuUtilization': ['workerDefaults.autoscaling.mode="cpu"'],
  'workerDefaults.autoscaling.keda.authenticationKind': [
    'workerDefaults.autoscaling={"mode":"keda","keda":{"authenticationRef":"a"}}',
  ],
  'workerDefaults.autoscaling.keda.authModes': [
    'workerDefaults.autoscaling={"mode":"keda","keda":{"authenticationRef":"a"}}',
  ],
  'workerDefaults.autoscaling.keda': ['workerDefaults.autoscaling.mode="keda"'],
  'networkPolicy.jobsMayCallOut': ['workerDefaults.kubernetesJobs={"enabled":true,"images":["a"]}'],
  'networkPolicy.jobEgress': ['workerDefaults.kubernetesJobs={"enabled":true,"images":["a"]}'],
  'networkPolicy.storesTo': ['redis.enabled=false', 'externalRedis.host="redis"'],
  'metrics.monitors': ['metrics.monitors.enabled=true'],
  'metrics.rules': ['metrics.rules.enabled=true'],
  'metrics.dashboards': ['metrics.dashboards.enabled=true'],
  'postgresql.auth.existingSecret': ['postgresql.auth={"existingSecret":"a"}'],
  'redis.auth.existingSecret': ['redis.auth={"existingSecret":"a"}'],
};

/** A different value to set, by the path or by its last part. */
const ANOTHER: Readonly<Record<string, unknown>> = {
  // The values in COMPANY already set these to true.
  'api.ingress.enabled': false,
  'api.httpRoute.enabled': false,
  'workerDefaults.kubernetesJobs.enabled': false,
  'api.service.type': 'NodePort',
  'auth.mode': 'open',
  'helmTest.client': 'a',
  'auth.clients': { other: { existingSecret: 'more', role: 'viewer' } },
  publicUrl: 'https://other.example',
  'auth.oidc.issuer': 'https://other.example',
  'auth.oidc.scopes': ['openid', 'more'],
  'auth.oidc.algorithms': ['PS512'],
  'auth.oidc.grants': [{ value: 'other', role: 'viewer' }],
  'privacy.redactedFields': { other: ['$.more'] },
  'privacy.privateMetadata': ['more'],
  'httpRequest.targets': ['b'],
  'httpRequest.secrets': { other: { existingSecret: 'more', targets: ['b'] } },
  'api.service.nodePort': 30_081,
  'api.ingress.hosts': ['b'],
  'api.ingress.tls': [{ hosts: ['b'], secretName: 'b' }],
  'externalDatabase.sslMode': 'require',
  'externalRedis.sentinel.addresses': ['b:26379'],
  'metrics.monitors.interval': '30s',
  'metrics.monitors.enabled': false,
  'metrics.rules.enabled': false,
  'metrics.dashboards.enabled': false,
  'migrations.mode': 'none',
  'migrations.ttlSecondsAfterFinished': 601,
  'networkPolicy.storePorts': [6432],
  'networkPolicy.dnsPorts': [53, 5353],
  'networkPolicy.metadataAddresses': ['203.0.113.7/32'],
  'networkPolicy.apiEgress': [{ ports: [{ port: 25 }] }],
  'networkPolicy.workerEgress': [{ ports: [{ port: 25 }] }],
  'networkPolicy.jobEgress': [{ ports: [{ port: 25 }] }],
  'networkPolicy.reclaimerEgress': [{ ports: [{ port: 25 }] }],
  'networkPolicy.migrationsEgress': [{ ports: [{ port: 25 }] }],
  'api.service.externalTrafficPolicy': 'Local',
  'reclaimer.deadlineSeconds': 57,
  'redis.maxMemory': '385mb',
  'workerDefaults.autoscaling.keda.serverAddress': 'http://other:9090',
  'workerDefaults.autoscaling.keda.authModes': 'tls,basic',
  'workerDefaults.autoscaling.keda.authenticationKind': 'ClusterTriggerAuthentication',
  'workerDefaults.autoscaling.mode': 'cpu',
  'workerDefaults.autoscaling.targetSlotUtilization': 50,
  'workerDefaults.queueOrder': 'round-robin',
  'image.pullPolicy': 'Always',
  affinity: { nodeAffinity: {} },
  allowedHosts: ['b'],
  apiFrom: [{ podSelector: {} }],
  config: { LOG_LEVEL: 'debug' },
  digest: `sha256:${'0'.repeat(64)}`,
  extraEnv: [{ name: 'TZ', value: 'UTC' }],
  extraEnvFrom: [{ configMapRef: { name: 'more' } }],
  extraObjects: ['kind: Other'],
  extraVolumeMounts: [{ name: 'more', mountPath: '/more' }],
  extraVolumes: [{ name: 'more', emptyDir: {} }],
  hostnames: ['b'],
  images: ['b'],
  kubernetesTo: [{ ipBlock: { cidr: '10.0.0.1/32' } }],
  metricsFrom: [{ podSelector: {} }],
  oidcTo: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
  parentRefs: [{ name: 'b' }],
  pullSecrets: [{ name: 'more' }],
  queues: ['b'],
  resources: { requests: { cpu: '77m' } },
  size: '9Gi',
  storesTo: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
  tolerations: [{ operator: 'Exists' }],
  topologySpreadConstraints: [{ maxSkew: 7, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
  workers: { default: {}, b: { queues: ['b'] } },
};

function another(path: string, current: unknown): unknown {
  const known = ANOTHER[path] ?? ANOTHER[path.split('.').at(-1)!];
  if (known !== undefined) return known;
  if (typeof current === 'number') return current + 1;
  if (typeof current === 'boolean') return !current;
  if (typeof current === 'string') return 'otherone';
  return { other: 'value' };
}

function textsIn(value: unknown): string[] {
  if (typeof value === 'string' || typeof value === 'number') return [String(value)];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

/** Returns the rendered text without checksums and hashes, which change with any value. */
function rendered(set: readonly string[]): string {
  const { text, error } = helmTemplate({ set });
  if (error !== '') throw new Error(error);
  return text.replaceAll(/^ *checksum\/.*\n|-migrate-[0-9a-f]{8}/gm, '');
}

describe('every value has an effect', () => {
  const values = documentedValues(readText('charts/scheduler/values.yaml'));
  // `global` is for other charts, `maxConnections` is only a check, and another test covers the choice of stores.
  const silent = new Set(['global', 'externalDatabase.maxConnections', 'postgresql.enabled', 'redis.enabled']);

  it.each(values.filter(({ path }) => !silent.has(path)).map(({ path, fallback }) => [path, fallback] as const))(
    '%s, by default %s',
    (path, fallback) => {
      const begin = Object.keys(COMPANY)
        .filter((each) => path.startsWith(each))
        .toSorted((a, b) => b.length - a.length)[0];
      const company = begin === undefined ? [] : COMPANY[begin]!;
      const value = another(path, JSON.parse(fallback));
      const text = rendered([...company, `${path}=${JSON.stringify(value)}`]);
      expect(text).not.toBe(rendered(company));
      if (!path.endsWith('.mode')) for (const word of textsIn(value)) expect(text).toContain(word);
    },
  );
});
