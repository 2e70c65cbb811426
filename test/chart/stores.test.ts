import { describe, expect, it } from 'vitest';
import { containersOf, env, type Loose, only, podsOf, render } from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const base = render();

describe('stores', () => {
  const database = (values: string): Loose[] =>
    only(render({ values: [values] }), 'Deployment', '-api').spec.template.spec.containers[0].env;

  it('external stores by host: only the password comes from the Secret', () => {
    const list = database('charts/scheduler/ci/external-values.yaml');
    expect(list).toContainEqual({ name: 'DATABASE_URL', value: 'postgresql://app@db.example.internal:5432/scheduler' });
    expect(list).toContainEqual({
      name: 'PGPASSWORD',
      valueFrom: { secretKeyRef: { name: 'database', key: 'password' } },
    });
    expect(list).toContainEqual({ name: 'PGSSLMODE', value: 'verify-full' });
    expect(list).toContainEqual({ name: 'NODE_EXTRA_CA_CERTS', value: '/etc/scheduler/certificates/bundle.pem' });
    expect(list).toContainEqual({
      name: 'REDIS_URL',
      value: 'rediss://app:$(REDIS_PASSWORD)@cache.example.internal:6379/0',
    });
    const names = list.map(({ name }) => name);
    expect(names.indexOf('REDIS_PASSWORD')).toBeLessThan(names.indexOf('REDIS_URL'));
  });

  it('every process finds the mounted certificates', () => {
    for (const pod of podsOf(render({ values: ['charts/scheduler/ci/external-values.yaml'] }))) {
      for (const container of containersOf(pod).filter(({ env: list }) => list !== undefined)) {
        const { mountPath } = container.volumeMounts.find(({ name }: Loose) => name === 'certificates');
        expect(env(container, 'NODE_EXTRA_CA_CERTS').value, pod.owner).toBe(`${mountPath}/bundle.pem`);
      }
    }
  });

  it('reserved characters in names are encoded in URLs', () => {
    const external = { existingSecret: 'db', host: '[fd00::1]', username: 'app user@server', database: 'my tasks' };
    const set = ['postgresql.enabled=false', `externalDatabase=${JSON.stringify(external)}`];
    const [container] = only(render({ set }), 'Deployment', '-api').spec.template.spec.containers;
    expect(env(container, 'DATABASE_URL').value).toBe('postgresql://app%20user%40server@[fd00::1]:5432/my%20tasks');
  });

  it('external stores by URL, with any key of the Secret', () => {
    expect(database('charts/scheduler/ci/cloudnative-pg-values.yaml')).toEqual(
      expect.arrayContaining([
        { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'tasks-app', key: 'uri' } } },
        { name: 'REDIS_URL', value: 'redis://redis.example.internal:6379/0' },
      ]),
    );
    const cluster = database('charts/scheduler/ci/redis-cluster-values.yaml');
    expect(cluster).toContainEqual({ name: 'REDIS_URL', valueFrom: { secretKeyRef: { name: 'redis', key: 'url' } } });
    expect(cluster).toContainEqual({ name: 'REDIS_CLUSTER', value: 'true' });
  });

  it('Redis with Sentinels: they have separate settings from the servers', () => {
    const list = database('charts/scheduler/ci/redis-sentinel-values.yaml');
    expect(list).toEqual(
      expect.arrayContaining([
        { name: 'REDIS_SENTINELS', value: 'sentinel-0.redis:26379,sentinel-1.redis:26379,sentinel-2.redis:26379' },
        { name: 'REDIS_SENTINEL_MASTER', value: 'tasks' },
        { name: 'REDIS_SENTINEL_TLS', value: 'false' },
        { name: 'REDIS_URL', value: 'redis://:$(REDIS_PASSWORD)@master:6379/0' },
        {
          name: 'REDIS_SENTINEL_PASSWORD',
          valueFrom: { secretKeyRef: { name: 'redis', key: 'sentinel-password' } },
        },
      ]),
    );
    const { spec } = only(
      render({ values: ['charts/scheduler/ci/redis-sentinel-values.yaml'] }),
      'NetworkPolicy',
      '-api',
    );
    expect(spec.egress.at(-1).ports.map(({ port }: Loose) => port)).toEqual([5432, 6379, 26379]);
  });

  it('evaluation stores exist only when chosen, with or without a volume', () => {
    expect(
      render({ values: ['charts/scheduler/ci/external-values.yaml'] }).filter(({ kind }) =>
        /StatefulSet|Secret/.test(kind),
      ),
    ).toEqual([]);
    expect(only(base, 'StatefulSet', '-postgresql').spec.volumeClaimTemplates[0].spec.storageClassName).toBeUndefined();
    const everything = only(render({ values: [EVERYTHING] }), 'StatefulSet', '-postgresql');
    expect(everything.spec.volumeClaimTemplates[0].spec.storageClassName).toBe('gp3');
    const keda = render({ values: ['charts/scheduler/ci/keda-values.yaml'] });
    expect(only(keda, 'StatefulSet', '-postgresql').spec.volumeClaimTemplates).toBeUndefined();
    expect(keda.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    // Kubernetes stores these fields. Without them, tools that compare objects would always see a difference.
    expect(everything.spec.volumeClaimTemplates[0]).toMatchObject({ apiVersion: 'v1', kind: 'PersistentVolumeClaim' });
  });

  it('every reader of a password uses the key from the values', () => {
    const set = (store: string): string[] => [`${store}.auth={"existingSecret":"mine","passwordKey":"mine"}`];
    const external = [
      'postgresql.enabled=false',
      'redis.enabled=false',
      'externalDatabase={"existingSecret":"mine","host":"db","passwordKey":"mine"}',
      'externalRedis={"existingSecret":"mine","host":"redis","passwordKey":"mine"}',
    ];
    for (const [sets, readers] of [
      [set('postgresql'), 9],
      [set('redis'), 5],
      [external, 11],
    ] as const) {
      const found = podsOf(render({ set: sets }))
        .flatMap((pod) => containersOf(pod).flatMap((container) => container.env ?? []))
        .map(({ valueFrom }: Loose) => valueFrom?.secretKeyRef)
        .filter((reference: Loose) => reference?.name === 'mine');
      expect(found).toEqual(Array.from({ length: readers }, () => ({ name: 'mine', key: 'mine' })));
    }
  });

  it('with secretsAsFiles, credentials are files, only in pods that use the stores', () => {
    const set = [
      'externalDatabase={"existingSecret":"db","urlKey":"uri"}',
      'externalRedis={"existingSecret":"cache","urlKey":"url"}',
      'secretsAsFiles=true',
    ];
    const pods = podsOf(render({ values: [], set }));
    for (const { owner, spec } of pods) {
      const volumes = Object.fromEntries(spec.volumes.map((volume: Loose) => [volume.name, volume.secret]));
      const uses = !owner.startsWith('Pod ');
      expect(volumes['database-secret'], owner).toEqual(
        uses ? { secretName: 'db', items: [{ key: 'uri', path: 'url' }] } : undefined,
      );
      for (const container of containersOf({ spec })) {
        const names = (container.env ?? []).map(({ name }: Loose) => name);
        expect(names).not.toContain('DATABASE_URL');
        expect(names).not.toContain('REDIS_URL');
        for (const [store, name] of [
          ['database', 'DATABASE_URL_FILE'],
          ['redis', 'REDIS_URL_FILE'],
        ] as const) {
          const file = env({ env: container.env ?? [] }, name);
          if (file === undefined) continue;
          const { mountPath } = container.volumeMounts.find((mount: Loose) => mount.name === `${store}-secret`);
          expect(file.value, `${owner} ${container.name}`).toBe(`${mountPath}/url`);
        }
        const opens = /^(api|worker|reclaimer|migrate|wait-for-.*)$/.test(container.name);
        expect(names.includes('DATABASE_URL_FILE'), container.name).toBe(opens);
      }
    }
  });

  it('Redis never evicts data', () => {
    expect(only(base, 'StatefulSet', '-redis').spec.template.spec.containers[0].args[0]).toContain(
      '--maxmemory-policy noeviction',
    );
  });
});
