import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  BASE,
  CHART,
  CI_VALUES,
  containersOf,
  K8S_VALUES,
  type Loose,
  podsOf,
  render,
  type RenderOptions,
  withStores,
} from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const scratch = mkdtempSync(join(tmpdir(), 'rollouts-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Copies the chart with different versions. @returns its directory */
function chartOf(version: string, appVersion: string): string {
  const directory = join(scratch, `${version}-${appVersion}`);
  cpSync(CHART, directory, { recursive: true });
  const path = join(directory, 'Chart.yaml');
  const text = readFileSync(path, 'utf8')
    .replace(/^version: .*$/m, `version: ${version}`)
    .replace(/^appVersion: .*$/m, `appVersion: "${appVersion}"`);
  writeFileSync(path, text);
  return directory;
}

/** Returns the template of every pod by its owner. The hash at the end of a migration's name is removed. */
function templates(options: RenderOptions): Record<string, string> {
  return Object.fromEntries(
    podsOf(render(options)).map(({ owner, ...template }) => [
      owner.replace(/-migrate-[0-9a-f]{8}$/, '-migrate'),
      JSON.stringify(template),
    ]),
  );
}

/** Returns which pods an upgrade replaces, without the pod of `helm test`, which is new each time. */
function replaced(before: RenderOptions, after: RenderOptions): string[] {
  const [old, now] = [templates(before), templates(after)];
  expect(Object.keys(now)).toEqual(Object.keys(old));
  return Object.keys(now)
    .filter((owner) => now[owner] !== old[owner] && !owner.startsWith('Pod '))
    .map((owner) => owner.split(' ')[1]!.replace(/^r-(scheduler|tasks)-/, ''))
    .toSorted();
}

const chart = chartOf('0.2.0', '0.1.0');
const release = chartOf('0.2.0', '0.2.0');
const CLIENT = 'auth.clients={"a":{"existingSecret":"s","role":"admin"}}';
const OWN = ['api', 'migrate', 'reclaimer', 'worker-default'];

describe('an upgrade replaces pods only when what they run or read changes', () => {
  it.each([...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)])(
    '%s: a new version of the chart replaces no pods',
    (...values) => {
      expect(replaced({ values }, { values, chart })).toEqual([]);
    },
  );

  it('a new release replaces the pods with its image, but neither PostgreSQL nor Redis', () => {
    expect(replaced({}, { chart: release })).toEqual(OWN);
  });

  it('a new release replaces no pods if the values name an unchanged image', () => {
    expect(replaced({ values: [EVERYTHING] }, { values: [EVERYTHING], chart: release })).toEqual([]);
  });

  it.each([
    ['a setting', 'config.LOG_LEVEL="debug"', ['api', 'reclaimer', 'worker-default']],
    ['a setting of a group', 'workers.default.config.LOG_LEVEL="debug"', ['worker-default']],
    ['a setting of the database', 'config.DATABASE_PREPARED_STATEMENTS=false', OWN],
    ['the password of Redis', 'redis.auth.password="other"', ['api', 'redis', 'worker-default']],
    ['replicas', 'api.replicas=5', []],
    ['resources of the migrations', 'migrations.resources.limits.memory="300Mi"', ['migrate']],
    ['an unused password', 'externalDatabase.passwordKey="other"', []],
    ['the first client', CLIENT, ['api']],
    ['who may use the API', 'auth.mode="open"', ['api']],
    ['where requests may go', 'httpRequest.targets=["a"]', ['worker-default']],
    ['labels of objects', 'metrics.rules.enabled=true', []],
  ])('%s', (_, set, pods) => {
    expect(replaced({}, { set: [set] })).toEqual(pods);
  });

  it('what a client may do changes without a restart', () => {
    const before = { set: [CLIENT] };
    const after = { set: [CLIENT, 'auth.clients.a.role="viewer"'] };
    expect(replaced(before, after)).toEqual([]);
    expect(JSON.stringify(render(after))).not.toBe(JSON.stringify(render(before)));
  });

  it('the password of an evaluation store has no effect if an external one is used', () => {
    const values = ['charts/scheduler/ci/external-values.yaml'];
    expect(replaced({ values }, { values, set: ['redis.auth.password="other"'] })).toEqual([]);
  });
});

/**
 * What clients may do, and where secrets may be sent. Both belong to Secrets that are mounted beside them in the same
 * volume. The processes read these files again while they run, so a change that takes rights away reaches every pod.
 */
const READ_AGAIN: Readonly<Record<string, readonly string[]>> = {
  clients: ['api', '-clients'],
  'http-secrets': ['worker', '-http-targets'],
};

function isReadAgain(metadata: Loose, { name, projected }: Loose): boolean {
  const [component, end] = READ_AGAIN[name] ?? [];
  if (component !== metadata.labels?.['app.kubernetes.io/component']) return false;
  const maps: string[] = projected.sources.flatMap(({ configMap }: Loose) => configMap?.name ?? []);
  return maps.every((map) => map.endsWith(end!));
}

describe('what pods read', () => {
  it.each([...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)])(
    '%s: no Secrets or ConfigMaps of the release except the passwords of its own stores, and files that are read again',
    (...values) => {
      const objects = render({ values });
      const made = new Set(
        objects
          .filter(({ kind }) => kind === 'ConfigMap' || kind === 'Secret')
          .map(({ kind, metadata }) => `${kind} ${metadata.name}`),
      );
      const read = podsOf(objects).flatMap(({ metadata, spec }) => {
        const found: string[] = [];
        const visit = (value: Loose): void => {
          if (typeof value !== 'object' || value === null) return;
          if (value.configMapRef !== undefined) found.push(`ConfigMap ${value.configMapRef.name}`);
          if (value.configMapKeyRef !== undefined) found.push(`ConfigMap ${value.configMapKeyRef.name}`);
          if (value.configMap !== undefined) found.push(`ConfigMap ${value.configMap.name}`);
          if (value.secretRef !== undefined) found.push(`Secret ${value.secretRef.name}`);
          if (value.secretKeyRef !== undefined) found.push(`Secret ${value.secretKeyRef.name}`);
          if (value.secret !== undefined) found.push(`Secret ${value.secret.secretName ?? value.secret.name}`);
          for (const each of Object.values(value)) visit(each);
        };
        for (const container of containersOf({ spec })) visit(container);
        visit(spec.volumes.filter((volume: Loose) => !isReadAgain(metadata, volume)));
        return found.map((name) => ({ name, component: metadata.labels?.['app.kubernetes.io/component'] }));
      });
      const own = read.filter(({ name }) => made.has(name)).map(({ name }) => name);
      expect([...new Set(own)].filter((name) => !/^Secret .*-(postgresql|redis)$/.test(name))).toEqual([]);
    },
  );

  it('the pods of one release do not read the settings of the next one', () => {
    const settings = (set: readonly string[]): string => JSON.stringify(podsOf(render({ values: [BASE], set })));
    expect(settings(['config.REDIS_PREFIX="next"'])).toContain('"REDIS_PREFIX","value":"next"');
    expect(settings([])).not.toContain('REDIS_PREFIX');
  });
});
