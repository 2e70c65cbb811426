import { parse, stringify } from 'yaml';
import { readFileSync } from 'node:fs';
import { helm, kubectl, NAMESPACE, RELEASE, run } from './cluster.ts';

const MONITORING = 'monitoring';

/** Gives a metrics adapter the rule of this project, where it is configured by a ConfigMap `adapter-config`. */
export function installAdapterRule(): void {
  const values = parse(
    readFileSync(new URL('../../k8s/monitoring/values-prometheus-adapter.yaml', import.meta.url), 'utf8'),
  ) as { rules: { external: unknown[] } };
  applyConfig('adapter-config', 'config.yaml', stringify({ externalRules: values.rules.external }, { lineWidth: 0 }));
  restart('prometheus-adapter');
}

/** Gives Prometheus the chart's alerts, where it reads them from a ConfigMap `prometheus-rules`. */
export function installAlerts(values: readonly string[]): void {
  const only = 'templates/monitoring/rules.yaml';
  const switched = ['--set', 'metrics.rules.enabled=true', '--show-only', only];
  const rendered = helm('template', RELEASE, 'charts/scheduler', ...values, ...switched);
  const { spec } = parse(rendered) as { spec: object };
  applyConfig('prometheus-rules', 'scheduler.yml', stringify(spec, { lineWidth: 0 }));
  restart('prometheus');
}

function applyConfig(name: string, file: string, content: string): void {
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: MONITORING },
    data: { [file]: content },
  };
  run('kubectl', ['apply', '--filename', '-'], JSON.stringify(object));
}

function restart(deployment: string): void {
  run('kubectl', ['--namespace', MONITORING, 'rollout', 'restart', `deployment/${deployment}`]);
  run('kubectl', ['--namespace', MONITORING, 'rollout', 'status', `deployment/${deployment}`, '--timeout', '120s']);
}

/** The demand of a queue, asked for as an autoscaler asks; null while there is none. */
export function externalDemand(queue: string): number | null {
  const labels = encodeURIComponent(`release=${RELEASE},queue in (${queue})`);
  const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${NAMESPACE}/scheduler_demand?labelSelector=${labels}`;
  const { items } = JSON.parse(kubectl('get', '--raw', path)) as { items: { value: string }[] };
  const [item] = items;
  if (item === undefined) return null;
  return item.value.endsWith('m') ? Number(item.value.slice(0, -1)) / 1_000 : Number(item.value);
}

/** Names of the alerts that Prometheus holds for pending or firing. */
export function activeAlerts(): string[] {
  const answer = kubectl(
    'get',
    '--raw',
    `/api/v1/namespaces/${MONITORING}/services/prometheus:http/proxy/api/v1/alerts`,
  );
  const { data } = JSON.parse(answer) as { data: { alerts: { labels: { alertname: string } }[] } };
  return data.alerts.map(({ labels }) => labels.alertname);
}
