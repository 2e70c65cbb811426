import { globSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { helm, NAMESPACE, run } from '../cluster.ts';
import type { Step } from '../step.ts';

const BASE = 'charts/scheduler/ci/base-values.yaml';
/** API groups of other projects, which this cluster may not have. */
const CUSTOM_GROUP = /^(monitoring\.coreos\.com|keda\.sh|gateway\.networking\.k8s\.io)\//;

interface PodTemplate {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: { readonly volumes?: readonly object[] };
}

interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly template?: PodTemplate;
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
    readonly jobTemplate?: { readonly spec: { readonly template: PodTemplate } };
    readonly ports?: { nodePort?: number }[];
    readonly volumes?: readonly object[];
  };
}

export const everyValuesFile: Step = {
  name: 'values',
  promise: 'the API server accepts the objects of every values file, and their pods satisfy "restricted"',
  async body() {
    const files = globSync(['charts/scheduler/ci/*.yaml', 'k8s/values-*.yaml']).toSorted();
    let checked = 0;
    for (const file of files) {
      const objects = rendered(file);
      const items = [...objects.filter(({ kind }) => kind !== 'Pod'), ...objects.flatMap(podOf)];
      const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
      try {
        run('kubectl', ['apply', '--server-side', '--dry-run=server', '--filename', '-'], list);
      } catch (error) {
        const refused = (error as Error).message.split('\n').filter((line) => !line.endsWith('(server dry run)'));
        throw new Error(`${file}: ${refused.slice(1).join('\n')}`, { cause: error });
      }
      checked += items.length;
    }
    return `${checked} objects of ${files.length} files`;
  },
};

function rendered(file: string): Rendered[] {
  const values = ['--values', file];
  if (/k8s\/values-(?!kind|eks)/.test(file)) values.unshift('--values', BASE);
  // The host name in capitals there is a placeholder, which users replace.
  if (file.endsWith('-eks.yaml')) values.push('--set', 'api.ingress.hosts={tasks.example.com}');
  const text = helm('template', 'values', 'charts/scheduler', ...values);
  const objects = parseAllDocuments(text, { version: '1.1' })
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null)
    .filter(({ apiVersion, metadata }) => !CUSTOM_GROUP.test(apiVersion) && metadata.namespace === NAMESPACE);
  // Another Service of the cluster may already use this port.
  for (const { spec } of objects) for (const port of spec?.ports ?? []) delete port.nodePort;
  return objects;
}

/** Returns the pod of a workload, because Pod Security checks only pods and not the workloads that create them. */
function podOf({ kind, metadata, spec }: Rendered): object[] {
  const template: PodTemplate | undefined =
    kind === 'Pod' ? { metadata, spec } : (spec?.jobTemplate?.spec.template ?? spec?.template);
  if (template === undefined) return [];
  // Account and priority class do not exist, and Kubernetes would refuse the pod for that reason.
  const own = { ...template.spec, serviceAccountName: undefined, priorityClassName: undefined };
  const claimed = (spec.volumeClaimTemplates ?? []).map(({ metadata: { name } }) => ({ name, emptyDir: {} }));
  const name = `${metadata.name}-${kind.toLowerCase()}`;
  const { labels } = template.metadata;
  return [
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: NAMESPACE, labels },
      spec: { ...own, volumes: [...(own.volumes ?? []), ...claimed] },
    },
  ];
}
