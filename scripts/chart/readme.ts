import { isMap, parseDocument, type Pair, type Scalar, type YAMLMap } from 'yaml';

/** A value of the chart as the README shows it. */
export interface DocumentedValue {
  readonly path: string;
  readonly fallback: string;
  readonly description: string;
}

/** Descriptions of keys that occur in several places; a comment above a key in values.yaml takes precedence. */
const REPEATED: Readonly<Record<string, string>> = {
  enabled: 'Switches this part on.',
  annotations: 'Annotations of the object.',
  port: 'Port.',
  repository: 'Name of the image.',
  tag: 'Tag of the image.',
  digest: '`sha256:…`. It takes precedence over the tag when the image is pulled.',
  database: 'Name of the database.',
  username: 'Name of the user.',
  hostnames: 'Host names.',
  requests: 'Resources that Kubernetes reserves for the pod.',
  size: 'Size of the volume.',
  interval: 'Time between two scrapes.',
  resources: 'Requests and limits; see `api.resources`.',
  podAnnotations: 'Annotations of the pods.',
  podLabels: 'Additional labels of the pods.',
  nodeSelector: 'Labels of the nodes that may run the pods.',
  tolerations: 'Taints that the pods tolerate.',
  affinity: 'Affinity of the pods, in the format of a pod.',
  topologySpreadConstraints:
    'In the format of a pod. A constraint without a labelSelector gets the selector of these pods.',
  priorityClassName: 'PriorityClass of the pods.',
  minReplicas: 'Smallest number of pods.',
  maxReplicas: 'Largest number of pods.',
  maxConnections: 'Largest number of connections that the server accepts.',
};

/** Maps whose content users define; the table shows each of them as one value. */
const OPAQUE = new Set([
  'config',
  'resources',
  'labels',
  'workers',
  'additionalLabels',
  'podSecurityContext',
  'containerSecurityContext',
]);

/** Reads values.yaml; the comment above a key becomes its description. */
export function documentedValues(yaml: string): DocumentedValue[] {
  const values: DocumentedValue[] = [];
  const visit = (map: YAMLMap, prefix: string): void => {
    (map.items as Pair<Scalar<string>>[]).forEach((pair, index) => {
      const key = pair.key.value;
      const path = prefix === '' ? key : `${prefix}.${key}`;
      // The parser attaches the comment above the first key of a map to the map.
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
