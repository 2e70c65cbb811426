import { globSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { helm, NAMESPACE, run } from '../cluster.ts';
import type { Step } from '../step.ts';

const BASE = 'charts/scheduler/ci/base-values.yaml';
/** Kinds of others, which this cluster need not know. */
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
  promise: 'the API server takes what every values file renders, and each of its pods under "restricted"',
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
  // What is in capitals there is for the user to replace.
  if (file.endsWith('-eks.yaml')) values.push('--set', 'api.ingress.hosts={tasks.example.com}');
  const text = helm('template', 'values', 'charts/scheduler', ...values);
  const objects = parseAllDocuments(text, { version: '1.1' })
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null)
    .filter(({ apiVersion, metadata }) => !CUSTOM_GROUP.test(apiVersion) && metadata.namespace === NAMESPACE);
  // Somebody else of the cluster may have that port.
  for (const { spec } of objects) for (const port of spec?.ports ?? []) delete port.nodePort;
  return objects;
}

/** The pod of a workload by itself: Pod Security judges pods, and not what makes them. */
function podOf({ kind, metadata, spec }: Rendered): object[] {
  const template: PodTemplate | undefined =
    kind === 'Pod' ? { metadata, spec } : (spec?.jobTemplate?.spec.template ?? spec?.template);
  if (template === undefined) return [];
  // Neither account nor priority class is there, and both are refused for that alone.
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
