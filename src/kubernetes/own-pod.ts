import type { KubernetesClient } from './client.ts';

/** https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost */
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';

export interface OwnPod {
  /**
   * Sets the deletion cost of the pod. A ReplicaSet removes the pods with the lowest cost first; the default is 0.
   * Needs the right to `patch` pods in the namespace.
   * @throws KubernetesApiError
   */
  setDeletionCost(cost: number, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export function createOwnPod(
  client: KubernetesClient,
  pod: { readonly name: string; readonly namespace: string },
): OwnPod {
  return {
    async setDeletionCost(cost, signal) {
      const body = { metadata: { annotations: { [DELETION_COST]: String(cost) } } };
      await client.call(({ core }, call) => core.patchNamespacedPod({ ...pod, body }, call), { signal });
    },
    close: () => client.close(),
  };
}
