import { describe, expect, it } from 'vitest';
import {
  CI_VALUES,
  containersOf,
  env,
  helmTemplate,
  K8S_VALUES,
  type Loose,
  only,
  podsOf,
  render,
  withStores,
} from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const base = render();

describe('objects', () => {
  it('are three workloads, the evaluation stores and the migration', () => {
    const kinds = base
      .filter(({ kind }) => /Deployment|CronJob|StatefulSet|^Job/.test(kind))
      .map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(kinds.toSorted()).toEqual([
      'CronJob r-scheduler-reclaimer',
      'Deployment r-scheduler-api',
      'Deployment r-scheduler-worker-default',
      expect.stringMatching(/^Job r-scheduler-migrate-[0-9a-f]{8}$/),
      'StatefulSet r-scheduler-postgresql',
      'StatefulSet r-scheduler-redis',
    ]);
  });

  it.each([...CI_VALUES, ...K8S_VALUES])(
    '%s: names are short enough, selectors are stable, and nothing has cluster-wide rights',
    (file) => {
      const values = CI_VALUES.includes(file) ? [file] : withStores(file);
      const release = 'a-release-whose-name-is-as-long-as-helm-lets-it-be-53';
      expect(release).toHaveLength(53);
      for (const object of render({ release, values })) {
        const limit = object.kind === 'CronJob' ? 52 : 63;
        expect(object.metadata.name.length, `${object.kind} ${object.metadata.name}`).toBeLessThanOrEqual(limit);
        expect(object.kind).not.toMatch(/^(ClusterRole|Namespace)/);
        const selector = object.spec?.selector?.matchLabels ?? object.spec?.podSelector?.matchLabels;
        if (selector !== undefined) {
          expect(
            Object.keys(selector).filter(
              (key) =>
                !/^(app\.kubernetes\.io\/(name|instance|component)|scheduler\/(worker-group|release-namespace))$/.test(
                  key,
                ),
            ),
          ).toEqual([]);
        }
      }
      expect(helmTemplate({ release, values }).text).not.toContain('"*"');
    },
  );

  it('with long names that begin alike do not collide', () => {
    const name = (release: string): string => only(render({ release }), 'CronJob').metadata.name;
    expect(name(`${'x'.repeat(50)}-a`)).not.toBe(name(`${'x'.repeat(50)}-b`));
  });

  it('have selectors that match only their own pods', () => {
    const objects = render({ values: ['charts/scheduler/ci/hpa-values.yaml'] });
    const pods = podsOf(objects);
    for (const { kind, metadata, spec } of objects.filter((object) =>
      /Deployment|StatefulSet|PodDisruptionBudget|^Service$/.test(object.kind),
    )) {
      const selector = Object.entries(kind === 'Service' ? spec.selector : spec.selector.matchLabels);
      const found = pods.filter((pod) => selector.every(([key, value]) => pod.metadata.labels?.[key] === value));
      expect(
        found.map(({ owner }) => owner.split(' ')[1]),
        `${kind} ${metadata.name}`,
      ).toEqual([metadata.name]);
    }
  });
});

describe('pods', () => {
  const all = [...CI_VALUES.map((file) => [file]), ...K8S_VALUES.map(withStores)].flatMap((values) =>
    podsOf(render({ values })).map((pod) => [`${values.at(-1)!.split('/').at(-1)} ${pod.owner}`, pod] as const),
  );

  it.each(all)('%s is "restricted" and read-only', (_, pod) => {
    expect(pod.spec).toMatchObject({
      enableServiceLinks: false,
      // Otherwise the program would be process 1 and would ignore a SIGTERM before it has a handler for it.
      shareProcessNamespace: true,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: expect.any(Number),
        seccompProfile: { type: 'RuntimeDefault' },
      },
    });
    expect(pod.spec.securityContext.runAsUser).toBeGreaterThan(0);
    expect(pod.spec.hostNetwork ?? pod.spec.hostPID ?? pod.spec.hostIPC).toBeUndefined();
    expect(pod.spec.volumes.filter((volume: Loose) => 'hostPath' in volume)).toEqual([]);
    for (const container of containersOf(pod)) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.volumeMounts).toContainEqual({ name: 'tmp', mountPath: '/tmp' });
      expect(container.image).toMatch(/^[^:@ ]+(:[0-9]+\/[^:@ ]+)?:(?!latest)[\w.-]+(@sha256:[0-9a-f]{64})?$/);
      expect(container.resources.requests, 'requests').toMatchObject({
        cpu: expect.any(String),
        memory: expect.any(String),
      });
      expect(container.resources.limits.memory).toBeDefined();
      expect(container.resources.limits.cpu).toBeUndefined();
    }
  });

  it.each(all)('%s has no secret in plain text', (_, pod) => {
    for (const container of containersOf(pod)) {
      for (const { name, value } of container.env ?? []) {
        if (/PASSWORD|_URL$/.test(name) && value !== undefined)
          expect(value, name).not.toMatch(/\/\/[^/@]*:(?!\$\(REDIS_PASSWORD\))[^/@]*@/);
        if (/PASSWORD/.test(name)) expect(value, name).toBeUndefined();
      }
      expect(JSON.stringify(container)).not.toContain('ci-only');
    }
  });

  it('take what the user adds', () => {
    const objects = render({ values: [EVERYTHING] });
    const api = only(objects, 'Deployment', '-api').spec.template;
    expect(api.metadata).toMatchObject({ labels: { team: 'tasks' }, annotations: { a: 'b' } });
    expect(api.spec).toMatchObject({
      nodeSelector: { 'kubernetes.io/arch': 'arm64', 'kubernetes.io/os': 'linux' },
      priorityClassName: 'high',
      tolerations: [{ key: 'dedicated', operator: 'Exists' }],
      imagePullSecrets: [{ name: 'registry' }],
      topologySpreadConstraints: [{ labelSelector: { matchLabels: { mine: 'true' } } }],
    });
    for (const name of ['-api', '-worker-default']) {
      const { spec } = only(objects, 'Deployment', name).spec.template;
      expect(spec.volumes).toContainEqual({ name: 'handlers', configMap: { name: 'handlers' } });
      expect(spec.containers[0].volumeMounts).toContainEqual({
        name: 'handlers',
        mountPath: '/handlers',
        readOnly: true,
      });
      expect(spec.containers[0].envFrom).toContainEqual({ configMapRef: { name: 'more' } });
      expect(env(spec.containers[0], 'TZ')).toEqual({ name: 'TZ', value: 'UTC' });
      expect(spec.volumes).toContainEqual({ name: 'certificates', secret: { secretName: 'certificates' } });
    }
    expect(objects.map(({ metadata }) => metadata.name)).toEqual(expect.arrayContaining(['r-text', 'r-map']));
  });

  it.each(['api', 'workers.default', 'reclaimer', 'migrations', 'postgresql', 'redis'])(
    '%s: the user can set placement, labels and annotations',
    (component) => {
      const settings = {
        podLabels: { team: 'tasks' },
        podAnnotations: { note: 'mine' },
        nodeSelector: { pool: 'large' },
        tolerations: [{ key: 'dedicated', operator: 'Exists' }],
        affinity: { nodeAffinity: {} },
        topologySpreadConstraints: [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
        priorityClassName: 'high',
      };
      const set = Object.entries(settings).map(([key, value]) => `${component}.${key}=${JSON.stringify(value)}`);
      const label = component.replace('workers.default', 'worker');
      const { metadata, spec } = podsOf(render({ set })).find(
        (pod) => pod.metadata.labels['app.kubernetes.io/component'] === label,
      )!;
      expect(metadata).toMatchObject({ labels: settings.podLabels, annotations: settings.podAnnotations });
      expect(spec).toMatchObject({
        nodeSelector: settings.nodeSelector,
        tolerations: settings.tolerations,
        affinity: settings.affinity,
        priorityClassName: 'high',
        topologySpreadConstraints: [
          { maxSkew: 2, labelSelector: { matchLabels: { 'app.kubernetes.io/component': label } } },
        ],
      });
    },
  );

  it('labels and annotations of the user override those of the chart', () => {
    const set = [
      'api.podAnnotations={"prometheus.io/scrape":"false"}',
      'metrics.rules={"enabled":true,"additionalLabels":{"app.kubernetes.io/name":"alerts"}}',
    ];
    const objects = render({ set });
    expect(only(objects, 'Deployment', '-api').spec.template.metadata.annotations).toMatchObject({
      'prometheus.io/scrape': 'false',
      'prometheus.io/port': '9464',
    });
    expect(only(objects, 'PrometheusRule').metadata.labels).toMatchObject({ 'app.kubernetes.io/name': 'alerts' });
  });

  it('spread by their own labels by default', () => {
    for (const { spec } of podsOf(base).filter(({ owner }) => owner.startsWith('Deployment'))) {
      for (const constraint of spec.topologySpreadConstraints) {
        expect(constraint.labelSelector.matchLabels['app.kubernetes.io/component']).toMatch(/^(api|worker)$/);
      }
    }
  });

  it('run the image by tag and digest', () => {
    const [api] = only(render({ values: [EVERYTHING] }), 'Deployment', '-api').spec.template.spec.containers;
    expect(api.image).toMatch(/^registry\.example\.com:5000\/team\/scheduler:v1\.2\.3@sha256:[0-9a-f]{64}$/);
  });

  it('large numbers in settings keep their digits, also when a group has settings', () => {
    const settingsOf = (values: string, name: string): Loose =>
      Object.fromEntries(
        only(render({ values: [values] }), 'Deployment', name).spec.template.spec.containers[0].env.map(
          (each: Loose) => [each.name, each.value],
        ),
      );
    expect(settingsOf(EVERYTHING, '-api')).toMatchObject({
      LOG_LEVEL: 'debug',
      RATE_LIMIT_PER_MINUTE: '1000000',
      SIMULATE_UNKNOWN_ACTIONS: 'false',
    });
    expect(settingsOf('charts/scheduler/ci/hpa-values.yaml', '-reports')).toMatchObject({
      HTTP_RESPONSE_MAX_BYTES: '1048576',
      WORKER_QUEUES: 'reports,reports.nightly',
    });
  });

  it('a setting of a group overrides the general one, even if it is false or 0', () => {
    const set = [
      'config={"HTTP_RESPONSE_MAX_BYTES":5,"SIMULATE_UNKNOWN_ACTIONS":true}',
      'workers.default.config={"HTTP_RESPONSE_MAX_BYTES":0,"SIMULATE_UNKNOWN_ACTIONS":false}',
    ];
    const value = (end: string, name: string): string =>
      env(only(render({ set }), 'Deployment', end).spec.template.spec.containers[0], name).value;
    expect(value('-worker-default', 'HTTP_RESPONSE_MAX_BYTES')).toBe('0');
    expect(value('-worker-default', 'SIMULATE_UNKNOWN_ACTIONS')).toBe('false');
    expect(value('-api', 'HTTP_RESPONSE_MAX_BYTES')).toBe('5');
  });

  it('settings of the database reach every container that uses it, and migrations get no others', () => {
    const set = ['config={"DATABASE_PREPARED_STATEMENTS":false,"LOG_LEVEL":"debug"}'];
    for (const { owner, spec } of podsOf(render({ set })))
      for (const container of containersOf({ spec })) {
        const names = (container.env ?? []).map(({ name }: Loose) => name);
        if (!names.includes('DATABASE_URL')) continue;
        expect(env(container, 'DATABASE_PREPARED_STATEMENTS'), `${owner} ${container.name}`).toMatchObject({
          value: 'false',
        });
        expect(names.includes('LOG_LEVEL')).toBe(/^(api|worker|reclaimer)$/.test(container.name));
      }
  });
});

describe('API', () => {
  const { spec } = only(base, 'Deployment', '-api');
  const [container] = spec.template.spec.containers;

  it('is updated without an interruption', () => {
    expect(spec.strategy.rollingUpdate).toEqual({ maxUnavailable: 0, maxSurge: 1 });
    expect(container.lifecycle.preStop).toEqual({ sleep: { seconds: 5 } });
    expect(spec.template.spec.terminationGracePeriodSeconds).toBe(43);
    expect(env(container, 'SHUTDOWN_DELAY').value).toBe('3s');
    expect(env(container, 'SHUTDOWN_GRACE').value).toBe('25s');
  });

  it('has a liveness probe that does not depend on the stores', () => {
    expect(container.livenessProbe.httpGet).toEqual({ path: '/healthz', port: 'http' });
    expect(container.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'http' });
    expect(container.startupProbe.httpGet.path).toBe('/healthz');
  });

  it('has a ClusterIP by default; Ingress and HTTPRoute are optional', () => {
    expect(only(base, 'Service', '-api').spec.type).toBe('ClusterIP');
    expect(base.filter(({ kind }) => kind === 'Ingress' || kind === 'HTTPRoute')).toEqual([]);
    const objects = render({ values: [EVERYTHING] });
    expect(only(objects, 'Ingress').spec.tls).toEqual([{ hosts: ['tasks.example.com'], secretName: 'tls' }]);
    expect(only(objects, 'HTTPRoute').spec.rules[0].backendRefs).toEqual([{ name: 'r-tasks-api', port: 8080 }]);
  });

  it('has a disruption budget that blocks no drain, and none with a single replica', () => {
    expect(only(base, 'PodDisruptionBudget', '-api').spec).toMatchObject({
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    });
    const alone = render({ set: ['api.replicas=1', 'workers.default.replicas=1'] });
    expect(alone.filter(({ kind }) => kind === 'PodDisruptionBudget')).toEqual([]);
  });
});

describe('workers', () => {
  it.each([0, 45, 600])('a drain timeout of %i s determines the grace period', (drainSeconds) => {
    const { spec } = only(
      render({ set: [`workers.default.drainSeconds=${drainSeconds}`] }),
      'Deployment',
      '-worker-default',
    ).spec.template;
    expect(env(spec.containers[0], 'SHUTDOWN_GRACE').value).toBe(`${drainSeconds}s`);
    expect(spec.terminationGracePeriodSeconds).toBe(drainSeconds + 15);
  });

  it('have a liveness probe, know the uid of their pod, and have no preStop hook', () => {
    const [container] = only(base, 'Deployment', '-worker-default').spec.template.spec.containers;
    expect(container.livenessProbe.httpGet).toEqual({ path: '/healthz', port: 'metrics' });
    expect(container.lifecycle).toBeUndefined();
    expect(env(container, 'POD_UID').valueFrom.fieldRef.fieldPath).toBe('metadata.uid');
  });

  it('can be divided into groups', () => {
    const objects = render({ set: ['workers={"default":null,"a":{"slots":3},"b":{"queues":["b"],"replicas":7}}'] });
    const groups = objects.filter(({ kind, metadata }) => kind === 'Deployment' && metadata.name.includes('worker'));
    expect(groups.map(({ metadata }) => metadata.name)).toEqual(['r-scheduler-worker-a', 'r-scheduler-worker-b']);
    expect(env(groups[0]!.spec.template.spec.containers[0], 'WORKER_SLOTS').value).toBe('3');
    expect(env(groups[0]!.spec.template.spec.containers[0], 'WORKER_QUEUES').value).toBe('default');
    expect(groups[1]!.spec.replicas).toBe(7);
    for (const { spec } of groups) expect(spec.strategy.rollingUpdate.maxUnavailable).toBe(0);
  });
});

describe('reclaimer', () => {
  const { spec } = only(base, 'CronJob');

  it('never runs twice at the same time, may start late, and is ended before it keeps a second one from running', () => {
    expect(spec).toMatchObject({
      schedule: '* * * * *',
      timeZone: 'Etc/UTC',
      concurrencyPolicy: 'Forbid',
      suspend: false,
    });
    expect(spec.startingDeadlineSeconds).toBeGreaterThanOrEqual(10);
    expect(spec.jobTemplate.spec).toMatchObject({ backoffLimit: 0, ttlSecondsAfterFinished: 600 });
    expect(spec.jobTemplate.spec.activeDeadlineSeconds).toBeLessThan(120);
    expect(spec.jobTemplate.spec.template.spec.restartPolicy).toBe('Never');
    expect([spec.successfulJobsHistoryLimit, spec.failedJobsHistoryLimit]).toEqual([1, 2]);
  });

  it('sweeps for less than its deadline, even if its pod takes half a minute to start', () => {
    const window = env(spec.jobTemplate.spec.template.spec.containers[0], 'RECLAIMER_WINDOW').value;
    expect(window).toBe('50s');
    expect(spec.jobTemplate.spec.activeDeadlineSeconds - 50).toBeGreaterThanOrEqual(30);
  });

  it('sweeps every second by default if it can read pods', () => {
    const interval = (set: readonly string[]): Loose =>
      env(only(render({ set }), 'CronJob').spec.jobTemplate.spec.template.spec.containers[0], 'SWEEP_INTERVAL');
    expect(interval([]).value).toBe('1s');
    expect(interval(['reclaimer.podCheck=false'])).toBeUndefined();
    expect(interval(['config.SWEEP_INTERVAL="3s"']).value).toBe('3s');
  });
});

describe('migrations', () => {
  const name = (set: readonly string[]): string => only(render({ set }), 'Job').metadata.name;

  it('run once per release, because the name contains a hash of the content', () => {
    expect(name(['image.tag="next"'])).not.toBe(name([]));
    expect(name(['api.replicas=5', 'config.LOG_LEVEL="debug"'])).toBe(name([]));
  });

  it('run the command migrate', () => {
    expect(only(base, 'Job').spec.template.spec.containers[0].args).toEqual(['migrate']);
  });

  it('keep the log of a failed attempt, because each attempt is a new pod', () => {
    const { template, backoffLimit } = only(base, 'Job').spec;
    expect(template.spec.restartPolicy).toBe('Never');
    expect(backoffLimit).toBeGreaterThan(0);
    // The status of the pod contains the end of the log too.
    expect(template.spec.containers[0].terminationMessagePolicy).toBe('FallbackToLogsOnError');
  });

  it('are named by the pods that wait for them, with the command to read their log', () => {
    const hint = (set: readonly string[]): string =>
      only(render({ set }), 'Deployment', '-api').spec.template.spec.initContainers[0].args.at(-1);
    const { labels } = only(base, 'Job').spec.template.metadata;
    const [, selector] = /^kubectl --namespace test logs --selector (\S+) --all-containers /.exec(hint([]))!;
    for (const [key, value] of selector!.split(',').map((each) => each.split('=')) as [string, string][])
      expect(labels[key]).toBe(value);
    expect(hint(['migrations.mode="none"'])).toContain('run `migrate` of this image');
  });

  it('are no hook by default, because a hook would wait for objects that are installed after it', () => {
    const hooks = base.filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] !== undefined);
    expect(hooks.map(({ kind, metadata }) => `${kind} ${metadata.annotations?.['helm.sh/hook']}`)).toEqual([
      'Pod test',
    ]);
  });

  it('wait for the database, and the other pods wait for the schema', () => {
    const init = (kind: string, end: string): string =>
      only(base, kind, end).spec.template.spec.initContainers[0].args[1];
    expect(init('Deployment', '-api')).toBe('schema');
    expect(init('Deployment', '-worker-default')).toBe('schema');
    expect(only(base, 'Job').spec.template.spec.initContainers[0].args.slice(1)).toEqual(['database']);
  });

  it('as a hook, do not need objects of the release', () => {
    const values = ['charts/scheduler/ci/redis-cluster-values.yaml'];
    const job = only(render({ values }), 'Job');
    expect(job.metadata.annotations).toMatchObject({
      'helm.sh/hook': 'pre-install,pre-upgrade',
      'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
      // Helm prints the log of a failed hook.
      'helm.sh/hook-output-log-policy': 'hook-failed',
    });
    // The name does not depend on the content, so that the next hook replaces a failed one.
    expect(job.metadata.name).toBe('r-scheduler-migrate');
    expect(only(render({ values, set: ['image.tag="next"'] }), 'Job').metadata.name).toBe(job.metadata.name);
    expect(job.spec.template.spec.serviceAccountName).toBeUndefined();
    expect(containersOf(job.spec.template).flatMap((container) => container.envFrom ?? [])).toEqual([]);
  });
});

describe('development', () => {
  const objects = render({ set: ['development.sync=true'] });

  it('runs and watches a copy of the sources in a volume', () => {
    const sources = { name: 'sources', mountPath: '/app/src' };
    for (const pod of podsOf(objects).filter(({ owner }) => /-(api|worker-default|reclaimer)$/.test(owner))) {
      const [container] = pod.spec.containers;
      const [copy] = pod.spec.initContainers;
      expect(container.volumeMounts).toContainEqual(sources);
      expect(copy.volumeMounts).toContainEqual({ name: 'sources', mountPath: copy.command.at(-1) });
      expect(container.command).toEqual(['node', '--watch', 'src/main.ts']);
    }
    expect(
      podsOf(base).flatMap((pod) =>
        containersOf(pod).filter(({ volumeMounts }) => volumeMounts.some(({ name }: Loose) => name === 'sources')),
      ),
    ).toEqual([]);
  });

  it('runs the reclaimer as a Deployment instead of a CronJob, so that changed sources reach it', () => {
    const [reclaimer] = only(objects, 'Deployment', '-reclaimer').spec.template.spec.containers;
    expect(reclaimer.args).toEqual(['reclaimer', '--loop']);
    expect(objects.filter(({ kind }) => kind === 'CronJob')).toEqual([]);
    expect(base.filter(({ kind, metadata }) => kind === 'Deployment' && /reclaimer/.test(metadata.name))).toEqual([]);
  });

  it('applies new migrations in a second container beside the API, with the same sources', () => {
    const { containers } = only(objects, 'Deployment', '-api').spec.template.spec;
    const [api, migrate] = containers as Loose[];
    expect(containers).toHaveLength(2);
    expect(migrate).toMatchObject({ args: ['migrate'], command: api!.command, volumeMounts: api!.volumeMounts });
    expect(env(migrate, 'DATABASE_URL')).toEqual(env(api, 'DATABASE_URL'));
    expect(only(base, 'Deployment', '-api').spec.template.spec.containers).toHaveLength(1);
  });

  it('ends the API without delay, because there is no other one that could answer meanwhile', () => {
    const delayOf = (list: typeof objects): unknown =>
      env(only(list, 'Deployment', '-api').spec.template.spec.containers[0], 'SHUTDOWN_DELAY').value;
    expect([delayOf(objects), delayOf(base)]).toEqual(['0s', '3s']);
  });
});
