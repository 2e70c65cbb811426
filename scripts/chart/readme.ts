import { isMap, parseDocument, type Pair, type Scalar, type YAMLMap } from 'yaml';

/** One value of the chart, as the README shows it. */
export interface DocumentedValue {
  readonly path: string;
  readonly fallback: string;
  readonly description: string;
}

/** The key of a value is explained by the comment above it, or by that of the same key elsewhere that it repeats. */
const REPEATED: Readonly<Record<string, string>> = {
  enabled: 'Switches it on.',
  annotations: 'Annotations of the object.',
  port: 'Port.',
  repository: 'Name of the image.',
  tag: 'Its tag.',
  digest: '`sha256:…`; wins over the tag when the image is pulled.',
  database: 'Name of the database.',
  username: 'Name of the user.',
  hostnames: 'Host names.',
  requests: 'What the scheduler of Kubernetes reserves.',
  size: 'Size of the volume.',
  interval: 'Time between two scrapes.',
  resources: 'Requests and limits; see `api.resources`.',
  podAnnotations: 'Annotations of the pods.',
  podLabels: 'Further labels of the pods.',
  nodeSelector: 'Labels of the nodes that may run them.',
  tolerations: 'Taints of nodes that they bear.',
  affinity: 'As in a pod.',
  topologySpreadConstraints: 'As in a pod; a constraint without labelSelector gets the one of these pods.',
  priorityClassName: 'PriorityClass of the pods.',
  minReplicas: 'Fewest pods.',
  maxReplicas: 'Most pods.',
  maxConnections: 'Connections that it takes.',
};

/** Maps whose content is the user's: they are one value. */
const OPAQUE = new Set([
  'config',
  'resources',
  'labels',
  'workers',
  'additionalLabels',
  'podSecurityContext',
  'containerSecurityContext',
]);

/** Reads values.yaml; what a comment above a key says is its description. */
export function documentedValues(yaml: string): DocumentedValue[] {
  const values: DocumentedValue[] = [];
  const visit = (map: YAMLMap, prefix: string): void => {
    (map.items as Pair<Scalar<string>>[]).forEach((pair, index) => {
      const key = pair.key.value;
      const path = prefix === '' ? key : `${prefix}.${key}`;
      // The comment above the first key of a map belongs to the map.
      const above = (index === 0 ? (map.commentBefore ?? pair.key.commentBefore) : pair.key.commentBefore) ?? '';
      const description = above
        .split('\n\n')
        .at(-1)!
        .split('\n')
        .map((line) => line.trim())
        .join(' ')
        .trim();
      const value = pair.value;
      if (isMap(value) && value.items.length > 0 && !OPAQUE.has(key)) {
        visit(value, path);
        return;
      }
      const fallback = JSON.stringify((value as { toJSON(): unknown } | null)?.toJSON() ?? null);
      values.push({ path, fallback, description: description === '' ? (REPEATED[key] ?? '') : description });
    });
  };
  visit(parseDocument(yaml).contents as unknown as YAMLMap, '');
  return values;
}

export function valuesTable(yaml: string): string {
  const rows = documentedValues(yaml).map(
    ({ path, fallback, description }) =>
      `| \`${path}\` | \`${fallback.replaceAll('|', '\\|')}\` | ${description.replaceAll('|', '\\|')} |`,
  );
  return ['| value | default | meaning |', '|---|---|---|', ...rows].join('\n');
}
