import { readFileSync } from 'node:fs';

/** The chart's query for the demand; see docs/kubernetes.md. */
const DEMAND = readFileSync(new URL('../../charts/scheduler/files/demand.promql', import.meta.url), 'utf8').trim();

/** Returns PromQL for the demand of the queues that match a regular expression; equal to the chart's helper. */
export function demandQuery(namespace: string, release: string, queues: string): string {
  return DEMAND.replaceAll('%NAMESPACE%', namespace).replaceAll('%RELEASE%', release).replaceAll('%QUEUES%', queues);
}

/** Returns matchers for the series of one component. They work with every way of discovering the pods. */
export function seriesOf(namespace: string, release: string, component: string): string {
  return `namespace="${namespace}",pod=~"${release}-${component}-.+"`;
}
