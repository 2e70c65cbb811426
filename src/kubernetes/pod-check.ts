import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { POD_CHECK_TIMEOUT_MS } from '../config/timings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { KubernetesApiError, type KubernetesClient } from './client.ts';

/** A worker's process and the pod in which it runs, as the worker reports it. */
export interface WorkerPod {
  readonly workerId: string;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Start of the process, in milliseconds since 1970 by the clock of its node. */
  readonly startedAtMs: number;
}

export interface PodCheck {
  /** Loads the client before a check, because it takes tenths of a second the first time. Never throws. */
  prepare(): Promise<void>;
  /**
   * Finds the processes that have certainly ended. If the API refuses, or does not answer
   * within 1.5 s, there is no evidence. Never throws.
   * @returns ids of workers, each with a text that says how it ended
   */
  findGone(pods: readonly WorkerPod[]): Promise<ReadonlyMap<string, string>>;
  close(): Promise<void>;
}

export interface PodCheckOptions {
  readonly client: KubernetesClient;
  /** The namespace of the pods to ask for. Workers in other namespaces are left out. */
  readonly namespace: string;
  readonly log: Logger;
  readonly timeoutMs?: number;
}

/** Needs the right to `get` pods in the namespace. */
export function createPodCheck(options: PodCheckOptions): PodCheck {
  const { client, namespace, log, timeoutMs = POD_CHECK_TIMEOUT_MS } = options;
  let usable = true;

  const failed = (error: unknown): void => {
    if (usable)
      log.warn({ err: error }, 'cannot ask the Kubernetes API for pods: a dead worker is noticed only by its silence');
    usable = false;
  };
  const answered = (): void => {
    if (!usable) log.info('can ask the Kubernetes API for pods again');
    usable = true;
  };

  const endOf = async (worker: WorkerPod): Promise<string | null> => {
    try {
      const { name } = worker;
      const pod = await client.call(({ core }, call) => core.readNamespacedPod({ name, namespace }, call), {
        timeoutMs,
      });
      answered();
      return howEnded(pod, worker);
    } catch (error) {
      if (!isNoSuchPod(error)) {
        failed(error);
        return null;
      }
      answered();
      return 'its pod is gone';
    }
  };

  return {
    prepare: () => client.load().catch(failed),
    async findGone(pods) {
      const own = pods.filter((pod) => pod.namespace === namespace);
      const ends = await Promise.all(own.map(endOf));
      return new Map(own.flatMap(({ workerId }, i) => (ends[i] == null ? [] : [[workerId, ends[i]] as const])));
    },
    close: () => client.close(),
  };
}

/** Returns whether the API says that the pod does not exist. A 404 alone can also mean a wrong address or path. */
function isNoSuchPod(error: unknown): boolean {
  return (
    error instanceof KubernetesApiError && error.status === 404 && error.reason === 'NotFound' && error.kind === 'pods'
  );
}

/** The name of the chart's own container. The pod may have other containers. */
const WORKER_CONTAINER = 'worker';

/**
 * Returns how a worker's process ended: another pod has its name by now, or its container has ended since the worker
 * started. Returns null without proof; a pod that is being deleted, or the phase alone, is no proof.
 */
export function howEnded({ metadata, status }: V1Pod, worker: WorkerPod): string | null {
  const { uid, name } = metadata ?? {};
  if (uid === undefined || name !== worker.name) return null;
  if (uid !== worker.uid) return 'its pod is gone, and another pod has its name';
  const all = status?.containerStatuses ?? [];
  const named = all.filter((container) => container.name === WORKER_CONTAINER);
  const ends = (named.length > 0 ? named : all).map((container) => endedSince(container, worker.startedAtMs));
  const [first] = ends;
  if (first === undefined || ends.includes(null)) return null;
  const { reason, exitCode, signal } = first as V1ContainerStateTerminated;
  const how = [reason, `exit code ${exitCode}`, signal === undefined ? '' : `signal ${signal}`];
  return `its container ended: ${how.filter(Boolean).join(', ')}`;
}

/**
 * Returns the end of a container. Returns null for an older end, which may belong to an earlier process, because the
 * kubelet reports late.
 */
function endedSince({ state, lastState }: V1ContainerStatus, startedAtMs: number): V1ContainerStateTerminated | null {
  const ends = [state?.terminated, lastState?.terminated];
  const since = ends.find(
    ({ finishedAt } = { exitCode: 0 }) => finishedAt !== undefined && new Date(finishedAt).getTime() > startedAtMs,
  );
  return since ?? null;
}
