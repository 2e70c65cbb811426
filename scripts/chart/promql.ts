import { readFileSync } from 'node:fs';

/** The chart's own text of the demand; see docs/kubernetes.md. */
const DEMAND = readFileSync(new URL('../../charts/scheduler/files/demand.promql', import.meta.url), 'utf8').trim();

/** The demand of the queues that match a regular expression, in PromQL: what the chart's helper of the same name renders. */
export function demandQuery(namespace: string, release: string, queues: string): string {
  return DEMAND.replaceAll('%NAMESPACE%', namespace).replaceAll('%RELEASE%', release).replaceAll('%QUEUES%', queues);
}

/** Matchers for the series of one component, whatever found the pods. */
export function seriesOf(namespace: string, release: string, component: string): string {
  return `namespace="${namespace}",pod=~"${release}-${component}-.+"`;
}
