import { deleteSecrets, makeSecrets } from '../clients.ts';
import { apply, atMost, equal, helm, kubectl, NAMESPACE, RELEASE, until } from '../cluster.ts';
import { installAdapterRule, installAlerts } from '../monitoring.ts';
import { IMAGE, releaseArguments } from '../release.ts';
import type { Step } from '../step.ts';

export const install: Step = {
  name: 'install',
  promise:
    'the first task is COMPLETED within 60 s of the installation with keys, submitted with the key of a submitter, in a namespace that enforces "restricted"',
  async body() {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } });
    makeSecrets();
    installAdapterRule();
    const startedMs = performance.now();
    helm('install', RELEASE, 'charts/scheduler', ...releaseArguments(IMAGE), '--wait', '--timeout', '5m');
    helm('test', RELEASE);
    const seconds = (performance.now() - startedMs) / 1_000;
    installAlerts();
    atMost(seconds, 60, 'seconds to the first COMPLETED task');
    return `after ${seconds.toFixed(0)} s`;
  },
};

export const uninstall: Step = {
  name: 'uninstall',
  promise: 'leaves only volume claims behind',
  async body() {
    helm('uninstall', RELEASE, '--wait', '--timeout', '3m');
    // The release did not make it.
    deleteSecrets();
    const claims = [`persistentvolumeclaim/data-${RELEASE}-postgresql-0`];
    let left: string[] = [];
    const gone = (): boolean => (left = leftOvers()).length === claims.length;
    // Ignore the timeout: the comparison below names the remaining objects, which says more.
    await until('everything of the release is gone', 60, gone).catch(() => {});
    for (const pod of left.filter((name) => name.startsWith('pod/'))) report(pod);
    equal(left, claims, `what is left in ${NAMESPACE}`);
    kubectl('delete', 'namespace', NAMESPACE);
    return left.join(', ');
  },
};

/** Logs the state of a pod that does not end. */
function report(pod: string): void {
  try {
    console.log(kubectl('get', pod, '--output', 'jsonpath={.metadata.deletionTimestamp} {.status}'));
    console.log(kubectl('logs', pod, '--all-containers', '--tail=20'));
  } catch (error) {
    console.log(error);
  }
}

/** Returns the objects of all kinds in the namespace, except those that Kubernetes creates in every namespace. */
function leftOvers(): string[] {
  const kinds = kubectl('api-resources', '--namespaced', '--verbs=list', '--output=name').split('\n');
  // Events expire by themselves, and pod metrics are not stored objects.
  const lasting = kinds.filter((kind) => !/^events(\.|$)|\.metrics\.k8s\.io$/.test(kind));
  return kubectl('get', lasting.join(','), '--ignore-not-found', '--output=name')
    .split('\n')
    .filter((name) => name !== '' && name !== 'configmap/kube-root-ca.crt' && name !== 'serviceaccount/default');
}
