import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { POD_CHECK_TIMEOUT_MS } from '../config/timings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { KubernetesApiError, type KubernetesClient } from './client.ts';

/** A worker's process and the pod it says it runs in. */
export interface WorkerPod {
  readonly workerId: string;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** When the process started, in milliseconds since 1970 by its node's clock. */
  readonly startedAtMs: number;
}

export interface PodCheck {
  /** Loads what a check needs, in tenths of a second the first time, so that the check itself keeps its time. Never throws. */
  prepare(): Promise<void>;
  /**
   * Which of some processes are over for certain. Where the API does not answer within
   * 1.5 s, or refuses, there is no evidence. Never throws.
   * @returns ids of workers
   */
  findGone(pods: readonly WorkerPod[]): Promise<ReadonlySet<string>>;
  close(): Promise<void>;
}

export interface PodCheckOptions {
  readonly client: KubernetesClient;
  /** Of the pods that the API may be asked for; workers elsewhere are not its to judge. */
  readonly namespace: string;
  readonly log: Logger;
  readonly timeoutMs?: number;
}

/** Needs the right to `get` pods in the namespace. */
export function createPodCheck(options: PodCheckOptions): PodCheck {
  const { client, namespace, log, timeoutMs = POD_CHECK_TIMEOUT_MS } = options;
  let usable = true;

  const failed = (error: unknown): void => {
    if (usable) log.warn({ err: error }, 'pods cannot be asked for: a dead worker is noticed by its silence alone');
    usable = false;
  };
  const answered = (): void => {
    if (!usable) log.info('pods can be asked for again');
    usable = true;
  };

  const isGone = async (worker: WorkerPod): Promise<boolean> => {
    try {
      const { name } = worker;
      const pod = await client.call(({ core }, call) => core.readNamespacedPod({ name, namespace }, call), {
        timeoutMs,
      });
      answered();
      return hasEnded(pod, worker);
    } catch (error) {
      if (!isNoSuchPod(error)) {
        failed(error);
        return false;
      }
      answered();
      return true;
    }
  };

  return {
    prepare: () => client.load().catch(failed),
    async findGone(pods) {
      const own = pods.filter((pod) => pod.namespace === namespace);
      const gone = await Promise.all(own.map(isGone));
      return new Set(own.filter((_, i) => gone[i]).map(({ workerId }) => workerId));
    },
    close: () => client.close(),
  };
}

/** 404 can also mean that the address or the path is not the API's. */
function isNoSuchPod(error: unknown): boolean {
  return (
    error instanceof KubernetesApiError && error.status === 404 && error.reason === 'NotFound' && error.kind === 'pods'
  );
}

/** The name of the chart's own container, in a pod that may have others beside it. */
const WORKER_CONTAINER = 'worker';

/**
 * Whether a worker's process is over: its name belongs to another pod by now, or its container
 * has ended since the worker started. A pod that is being deleted, and the phase alone, prove nothing.
 */
export function hasEnded({ metadata, status }: V1Pod, worker: WorkerPod): boolean {
  const { uid, name } = metadata ?? {};
  if (uid === undefined || name !== worker.name) return false;
  if (uid !== worker.uid) return true;
  const all = status?.containerStatuses ?? [];
  const named = all.filter((container) => container.name === WORKER_CONTAINER);
  const containers = named.length > 0 ? named : all;
  return containers.length > 0 && containers.every((container) => endedSince(container, worker.startedAtMs));
}

/** An older end may be that of the process before this one: the kubelet's news can be late. */
function endedSince({ state, lastState }: V1ContainerStatus, startedAtMs: number): boolean {
  const finishedAt = [state?.terminated?.finishedAt, lastState?.terminated?.finishedAt];
  return finishedAt.some((at) => at !== undefined && new Date(at).getTime() > startedAtMs);
}
