import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BOARDS } from '../../scripts/chart/dashboards.ts';
import { demandQuery } from '../../scripts/chart/promql.ts';
import { collectProcessMetrics, createMetrics } from '../../src/telemetry/metrics.ts';
import { BASE, env, type Loose, only, podsOf, readText, render } from './render.ts';

const HPA = 'charts/scheduler/ci/hpa-values.yaml';
const KEDA = 'charts/scheduler/ci/keda-values.yaml';
const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';

const ADAPTER_RULE = demandQuery(
  '<<index .LabelValuesByName "namespace">>',
  '<<index .LabelValuesByName "release">>',
  '<<index .LabelValuesByName "queue">>',
);

describe('autoscaling', () => {
  const hpa = render({ values: [HPA] });

  it('hpa: reads the demand of its queues, with a target of tasks per pod', () => {
    const { spec } = only(hpa, 'HorizontalPodAutoscaler', '-reports');
    expect(spec.metrics).toEqual([
      {
        type: 'External',
        external: {
          metric: {
            name: 'scheduler_demand',
            selector: {
              matchLabels: { release: 'r-scheduler' },
              matchExpressions: [{ key: 'queue', operator: 'In', values: ['reports', 'reports.nightly'] }],
            },
          },
          target: { type: 'AverageValue', averageValue: '3' },
        },
      },
    ]);
    expect([spec.minReplicas, spec.maxReplicas]).toEqual([2, 4]);
  });

  it('scales in slowly', () => {
    const { scaleDown, scaleUp } = only(hpa, 'HorizontalPodAutoscaler', '-default').spec.behavior;
    expect(scaleDown).toEqual({
      stabilizationWindowSeconds: 300,
      policies: [{ type: 'Pods', value: 1, periodSeconds: 60 }],
    });
    expect(scaleUp.stabilizationWindowSeconds).toBe(0);
  });

  it.each([
    [10, 80, '8'],
    [4, 80, '3'],
    [1, 80, '1'],
    [100, 50, '50'],
  ])('with %i slots and a target of %i %% of them, a pod is for %s tasks', (slots, share, expected) => {
    const objects = render({
      set: [`workers.default={"slots":${slots},"autoscaling":{"mode":"hpa","targetSlotUtilization":${share}}}`],
    });
    expect(only(objects, 'HorizontalPodAutoscaler').spec.metrics[0].external.target.averageValue).toBe(expected);
  });

  it('leaves the number of pods to the autoscaler, in every mode', () => {
    for (const mode of ['hpa', 'keda', 'cpu']) {
      const objects = render({ set: [`workers.default.autoscaling.mode="${mode}"`] });
      expect(only(objects, 'Deployment', '-worker-default').spec).not.toHaveProperty('replicas');
    }
    expect(only(render(), 'Deployment', '-worker-default').spec.replicas).toBe(2);
    expect(render().filter(({ kind }) => /HorizontalPodAutoscaler|ScaledObject/.test(kind))).toEqual([]);
  });

  it('keda: uses the same query, and does not take a missing answer for a demand of 0', () => {
    const objects = render({ values: [KEDA] });
    const { spec } = only(objects, 'ScaledObject');
    expect(spec.triggers[0]).toMatchObject({
      type: 'prometheus',
      metricType: 'AverageValue',
      metadata: {
        query: demandQuery('test', 'r-scheduler', 'default|mail\\\\.bulk'),
        threshold: '8',
        ignoreNullValues: 'false',
        authModes: 'bearer',
      },
      authenticationRef: { name: 'prometheus' },
    });
    expect(spec.fallback).toEqual({ failureThreshold: 4, replicas: 1, behavior: 'currentReplicasIfHigher' });
    expect(spec.minReplicaCount).toBe(1);
    expect(spec.advanced.horizontalPodAutoscalerConfig.behavior).toEqual(
      only(hpa, 'HorizontalPodAutoscaler', '-default').spec.behavior,
    );
    expect(
      objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler').map(({ metadata }) => metadata.name),
    ).toEqual(['r-scheduler-worker-images']);
  });

  it('keda: scales to zero, and from zero with any demand', () => {
    const keda = '"mode":"keda","minReplicas":0,"keda":{"cooldownSeconds":120}';
    const { spec } = only(render({ set: [`workers.default.autoscaling={${keda}}`] }), 'ScaledObject');
    expect([spec.minReplicaCount, spec.cooldownPeriod, spec.initialCooldownPeriod]).toEqual([0, 120, 120]);
    expect(spec.triggers[0].metadata).toMatchObject({ activationThreshold: '0', ignoreNullValues: 'false' });
    // KEDA treats a fallback of 0 as no fallback and ends the pods if Prometheus does not answer for the cool-down.
    expect(spec.fallback).toEqual({ failureThreshold: 4, replicas: 1, behavior: 'currentReplicasIfHigher' });
    // A HorizontalPodAutoscaler that takes over would leave a Deployment at 0.
    expect(spec.advanced.restoreToOriginalReplicaCount).toBe(true);
    const fewest = render({ set: ['workers.default.autoscaling={"mode":"keda","minReplicas":3}'] });
    expect(only(fewest, 'ScaledObject').spec.fallback.replicas).toBe(3);
  });

  it('cpu: uses a share of the CPU request', () => {
    expect(only(render({ values: [KEDA] }), 'HorizontalPodAutoscaler').spec.metrics).toEqual([
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 70 } } },
    ]);
  });
});

describe('the query of the demand', () => {
  it('counts tasks that are ready, due or in flight, and none twice because of several replicas', () => {
    expect(demandQuery('n', 'r', '.+')).toContain(
      'sum(max by (queue, state) (scheduler_queue_tasks{namespace="n",pod=~"r-api-.+",queue=~".+",state=~"ready|due|inflight"}))',
    );
  });

  it('is the same in the rule of the adapter, for all releases and groups', () => {
    const { rules } = parse(readText('k8s/monitoring/values-prometheus-adapter.yaml'));
    expect(rules.external).toHaveLength(1);
    expect(rules.external[0]).toMatchObject({ name: { as: 'scheduler_demand' }, metricsQuery: ADAPTER_RULE });
  });

  it('is the same in dashboards, alerts and docs', () => {
    const boards = BOARDS.flatMap(({ rows }) =>
      rows.flatMap(({ panels }) => panels.flatMap(({ queries }) => queries.map(({ expr }) => expr))),
    );
    expect(boards).toContain(demandQuery('$namespace', '$release', '$queue'));
    const { groups } = only(render({ values: [BASE], set: ['metrics.rules.enabled=true'] }), 'PrometheusRule').spec;
    const alert = groups[0].rules.find((rule: Loose) => rule.alert === 'SchedulerDemandUnknown');
    expect(alert.expr).toBe(`absent(${demandQuery('test', 'r-scheduler', '.+')})`);
    expect(readText('docs/kubernetes.md')).toContain(demandQuery('scheduler', 'scheduler', 'default'));
    expect(readText('docs/kubernetes.md')).toContain(ADAPTER_RULE);
  });
});

describe('monitoring', () => {
  const objects = render({ values: [EVERYTHING] });

  it('is off by default', () => {
    expect(
      render().filter(
        ({ apiVersion, metadata }) => apiVersion.startsWith('monitoring') || metadata.labels?.['grafana_dashboard'],
      ),
    ).toEqual([]);
  });

  it('adds the labels by which the operator selects each kind', () => {
    const found = objects.filter(({ kind }) => /^(PodMonitor|PrometheusRule)$/.test(kind));
    expect(found.map(({ kind }) => kind)).toEqual(['PodMonitor', 'PodMonitor', 'PrometheusRule']);
    for (const { metadata } of found) expect(metadata.labels).toMatchObject({ release: 'prometheus' });
  });

  it('scrapes pods because of annotations or of a monitor, but never of both', () => {
    const annotations = (list: typeof objects, end: string): Loose =>
      only(list, 'Deployment', end).spec.template.metadata.annotations;
    for (const name of ['-api', '-worker-default']) {
      expect(annotations(render(), name)).toMatchObject({
        'prometheus.io/scrape': 'true',
        'prometheus.io/port': '9464',
      });
    }
    expect(annotations(objects, '-api')).not.toHaveProperty('prometheus.io/scrape');
  });

  it('has monitors that select the pods of their component and the names of their ports', () => {
    const often = render({ values: [EVERYTHING], set: ['metrics.monitors.interval="7s"'] });
    for (const name of ['-api', '-worker']) {
      const { spec } = only(often, 'PodMonitor', name);
      const wanted = Object.entries(spec.selector.matchLabels);
      const pods = podsOf(often).filter(({ metadata }) =>
        wanted.every(([key, value]) => metadata.labels?.[key] === value),
      );
      expect(pods.map(({ owner }) => owner)).toEqual([`Deployment r-tasks${name.replace('worker', 'worker-default')}`]);
      expect(spec.podMetricsEndpoints).toEqual([{ port: 'metrics', path: '/metrics', interval: '7s' }]);
      const port = pods[0]!.spec.containers[0].ports.find((each: Loose) => each.name === 'metrics');
      expect(port.containerPort).toBe(9464);
    }
  });

  it('reads the metrics of the API on a port that neither Service nor Ingress nor HTTPRoute shows', () => {
    const [api] = only(objects, 'Deployment', '-api').spec.template.spec.containers;
    expect(env(api, 'API_METRICS_PORT').value).toBe('9464');
    expect(only(objects, 'Service', '-api').spec.ports.map(({ targetPort }: Loose) => targetPort)).toEqual(['http']);
    const { rules } = only(objects, 'Ingress').spec;
    const backends = rules.flatMap(({ http }: Loose) => http.paths.map(({ backend }: Loose) => backend.service.port));
    expect(backends).toEqual([{ name: 'http' }]);
    const { port } = only(objects, 'Service', '-api').spec.ports[0];
    expect(only(objects, 'HTTPRoute').spec.rules[0].backendRefs).toEqual([{ name: 'r-tasks-api', port }]);
  });
});

describe('dashboards', () => {
  const objects = render({ values: [EVERYTHING] });
  const shipped = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1');

  it('show the autoscalers of the groups, including those that KEDA creates', () => {
    const text = JSON.stringify(BOARDS);
    const [, regex] = text.match(
      /kube_horizontalpodautoscaler_spec_max_replicas\{[^}]*horizontalpodautoscaler=~\\"([^"]*)\\"/,
    )!;
    const pattern = new RegExp(`^(?:${regex!.replace('$release', 'r-scheduler')})$`);
    const names = render({ values: [KEDA] })
      .filter(({ kind }) => /HorizontalPodAutoscaler|ScaledObject/.test(kind))
      .map(({ kind, metadata }) => (kind === 'ScaledObject' ? `keda-hpa-${metadata.name}` : metadata.name));
    expect(names).toHaveLength(2);
    for (const name of names) expect(name).toMatch(pattern);
  });

  it('are unchanged in the ConfigMaps that the sidecar loads', () => {
    expect(shipped.map(({ metadata }) => metadata.name).toSorted()).toEqual(
      BOARDS.map(({ name }) => `r-tasks-dashboard-${name}`).toSorted(),
    );
    for (const { data, metadata } of shipped) {
      const [[file, text]] = Object.entries(data) as [[string, string]];
      const path = `charts/scheduler/dashboards/${file.replace('scheduler-', '')}`;
      expect(JSON.parse(text), metadata.name).toEqual(JSON.parse(readText(path)));
    }
  });

  it.each(BOARDS.map(({ name }) => name))(
    '%s has a stable uid, a data source that can be chosen, and panels that do not overlap',
    (name) => {
      const board = JSON.parse(readText(`charts/scheduler/dashboards/${name}.json`));
      expect(board.uid).toBe(`scheduler-${name}`);
      expect(board.templating.list.map((each: Loose) => each.name)).toEqual([
        'datasource',
        'namespace',
        'release',
        'queue',
      ]);
      const taken = new Set<string>();
      for (const panel of board.panels) {
        if (panel.type !== 'row') expect(panel.datasource.uid).toBe('${datasource}');
        const { x, y, w, h } = panel.gridPos;
        expect(x + w).toBeLessThanOrEqual(24);
        for (let column = x; column < x + w; column++) {
          for (let line = y; line < y + h; line++) {
            expect(taken.has(`${column} ${line}`), panel.title).toBe(false);
            taken.add(`${column} ${line}`);
          }
        }
      }
    },
  );
});

describe('metrics', () => {
  /** Metrics of kube-state-metrics. */
  const FOREIGN = new Set([
    'kube_horizontalpodautoscaler_status_desired_replicas',
    'kube_horizontalpodautoscaler_spec_max_replicas',
  ]);

  /** Returns names and labels of all series. Some process metrics exist only after the first collection. */
  async function exported(): Promise<Map<string, readonly string[]>> {
    const registry = new Registry();
    createMetrics(registry);
    collectProcessMetrics(registry, 10);
    await registry.metrics();
    const found = new Map<string, readonly string[]>();
    for (const { name, type } of await registry.getMetricsAsJSON()) {
      const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: readonly string[] };
      if (String(type) !== 'histogram') found.set(name, labelNames);
      else for (const part of ['bucket', 'count', 'sum']) found.set(`${name}_${part}`, [...labelNames, 'le']);
    }
    return found;
  }

  const rules = only(render({ set: ['metrics.rules.enabled=true'] }), 'PrometheusRule').spec.groups[0].rules as Loose[];
  const expressions: [string, string][] = [
    ...rules.map(({ alert, expr }): [string, string] => [alert, expr]),
    ...BOARDS.flatMap(({ rows }) =>
      rows.flatMap(({ panels }) =>
        panels.flatMap(({ title, queries }) => queries.map(({ expr }): [string, string] => [title, expr])),
      ),
    ),
  ];

  it.each(expressions)('%s reads only metrics and labels that processes export: %s', async (_, expr) => {
    const known = await exported();
    const read = [...expr.matchAll(/([a-z_:][\w:]*)\{([^}]*)\}/g)];
    expect(read.length).toBeGreaterThan(0);
    for (const [, name, matchers] of read) {
      if (FOREIGN.has(name!)) continue;
      expect([...known.keys()]).toContain(name);
      const labels = [...matchers!.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label!);
      expect([...known.get(name!)!, 'namespace', 'pod']).toEqual(expect.arrayContaining(labels));
    }
    expect(expr.replaceAll(/\{[^}]*\}/g, '{}')).not.toMatch(/scheduler_\w+(?!\w|\{)/);
  });

  it('every metric of the scheduler is on a dashboard or in an alert', async () => {
    const all = expressions.map(([, expr]) => expr).join('\n');
    const unread = [...(await exported()).keys()].filter(
      (name) => name.startsWith('scheduler_') && !/_(count|sum)$/.test(name) && !all.includes(`${name}{`),
    );
    expect(unread).toEqual([]);
  });

  it.each(rules.map((rule) => [rule.alert, rule] as const))('%s is explained', (name, rule) => {
    expect(name).toMatch(/^Scheduler[A-Z]/);
    expect(rule.labels.severity).toMatch(/^(critical|warning|info)$/);
    // These labels distinguish the alerts of two releases.
    expect(rule.labels).toMatchObject({ namespace: 'test', release: 'r-scheduler' });
    expect(rule.annotations.summary).not.toContain('{{');
    expect(rule.annotations.description).toBeTypeOf('string');
    expect(rule.annotations.runbook_url).toBe(`docs/kubernetes.md#${name.toLowerCase()}`);
    expect(readText('docs/kubernetes.md')).toContain(`\n### ${name}\n`);
  });
});
