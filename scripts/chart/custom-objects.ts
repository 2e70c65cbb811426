// custom-objects.ts MANIFESTS: prints a program that checks objects of other projects (KEDA, Prometheus Operator,
// Gateway API) against types from npm packages, which are generated from those projects' code. The compiler refuses
// fields that are unknown, missing or of another type. At run time, the program refuses values that are not allowed.
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

const MODULES: Readonly<Record<string, string>> = {
  PodMonitor: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
  PrometheusRule: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
  ScaledObject: '@kubernetes-models/keda/keda.sh/v1alpha1',
  HTTPRoute: '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1',
};

interface CustomObject {
  readonly kind: string;
}

const objects = parseAllDocuments(readFileSync(process.argv[2] ?? '', 'utf8'))
  .map((document) => document.toJS() as CustomObject | null)
  .filter((object) => object !== null && object.kind in MODULES) as readonly CustomObject[];
for (const kind of Object.keys(MODULES))
  if (!objects.some((object) => object.kind === kind)) throw new Error(`no values file has a ${kind}`);

const lines = Object.entries(MODULES).map(([kind, module]) => `import { ${kind}, type I${kind} } from '${module}';`);
for (const [index, object] of objects.entries()) {
  lines.push(`const object${index}: I${object.kind} = ${JSON.stringify(object, null, 2)};`);
  lines.push(`new ${object.kind}(object${index}).validate();`);
}
console.log(lines.join('\n'));
