import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { apply, helm, kubectl, kubectlJson, NAMESPACE, RELEASE, run } from './cluster.ts';
import { IMAGE, releaseArguments } from './release.ts';

const MONITORING = 'monitoring';

/** Installs this project's rule in a metrics adapter that is configured with a ConfigMap `adapter-config`. */
export function installAdapterRule(): void {
  if (!hasDeployment('prometheus-adapter')) return;
  const file = new URL('../../k8s/monitoring/values-prometheus-adapter.yaml', import.meta.url);
  const { rules } = parse(readFileSync(file, 'utf8')) as { rules: { external: unknown[] } };
  applyConfig('adapter-config', 'config.yaml', stringify({ externalRules: rules.external }, { lineWidth: 0 }));
  restart('prometheus-adapter');
}

/** Installs the chart's alerts in a Prometheus that reads them from a ConfigMap `prometheus-rules`. */
export function installAlerts(): void {
  if (!hasDeployment('prometheus')) return;
  const only = ['--set', 'metrics.rules.enabled=true', '--show-only', 'templates/monitoring/rules.yaml'];
  const { spec } = parse(helm('template', RELEASE, 'charts/scheduler', ...releaseArguments(IMAGE), ...only)) as {
    spec: object;
  };
  applyConfig('prometheus-rules', 'scheduler.yml', stringify(spec, { lineWidth: 0 }));
  restart('prometheus');
}

function hasDeployment(name: string): boolean {
  return (
    run('kubectl', ['--namespace', MONITORING, 'get', 'deployment', name, '--ignore-not-found', '-o', 'name']) !== ''
  );
}

function applyConfig(name: string, file: string, content: string): void {
  apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: MONITORING }, data: { [file]: content } });
}

function restart(deployment: string): void {
  run('kubectl', ['--namespace', MONITORING, 'rollout', 'restart', `deployment/${deployment}`]);
  run('kubectl', ['--namespace', MONITORING, 'rollout', 'status', `deployment/${deployment}`, '--timeout', '120s']);
}

/** Queries the demand of a queue as an autoscaler does. Returns null if there is no value. */
export function externalDemand(queue: string): number | null {
  const labels = encodeURIComponent(`release=${RELEASE},queue in (${queue})`);
  const path = `/apis/external.metrics.k8s.io/v1beta1/namespaces/${NAMESPACE}/scheduler_demand?labelSelector=${labels}`;
  const { items } = JSON.parse(kubectl('get', '--raw', path)) as { items: { value: string }[] };
  const [item] = items;
  if (item === undefined) return null;
  return item.value.endsWith('m') ? Number(item.value.slice(0, -1)) / 1_000 : Number(item.value);
}

/** Returns the number of replicas that the workers' autoscaler wants. */
export function desiredWorkers(): number {
  const autoscaler = kubectlJson('get', 'horizontalpodautoscaler', `${RELEASE}-worker-default`);
  return (autoscaler as { status: { desiredReplicas: number } }).status.desiredReplicas;
}

/** E2E_PROMETHEUS names the Service of Prometheus as `namespace/name:port`. */
const [prometheusNamespace, prometheusService] = (
  process.env['E2E_PROMETHEUS'] ?? `${MONITORING}/prometheus:http`
).split('/');

function askPrometheus(path: string): unknown {
  const proxied = `/api/v1/namespaces/${prometheusNamespace}/services/${prometheusService}/proxy/api/v1/${path}`;
  return (JSON.parse(kubectl('get', '--raw', proxied)) as { data: unknown }).data;
}

/** Returns the value of a query, or null if it has none. */
export function query(promql: string): number | null {
  const { result } = askPrometheus(`query?query=${encodeURIComponent(promql)}`) as {
    result: { value: [number, string] }[];
  };
  const [first] = result;
  return first === undefined ? null : Number(first.value[1]);
}

/** Returns the names of the alerts that are pending or firing. */
export function activeAlerts(): string[] {
  const { alerts } = askPrometheus('alerts') as { alerts: { labels: { alertname: string } }[] };
  return alerts.map(({ labels }) => labels.alertname);
}
