import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
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
   * @returns ids of workers, each with how it ended, in words
   */
  findGone(pods: readonly WorkerPod[]): Promise<ReadonlyMap<string, string>>;
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

/** 404 can also mean that the address or the path is not the API's. */
function isNoSuchPod(error: unknown): boolean {
  return (
    error instanceof KubernetesApiError && error.status === 404 && error.reason === 'NotFound' && error.kind === 'pods'
  );
}

/** The name of the chart's own container, in a pod that may have others beside it. */
const WORKER_CONTAINER = 'worker';

/**
 * How a worker's process ended: its name belongs to another pod by now, or its container
 * has ended since the worker started. A pod that is being deleted, and the phase alone, prove nothing: then null.
 */
export function howEnded({ metadata, status }: V1Pod, worker: WorkerPod): string | null {
  const { uid, name } = metadata ?? {};
  if (uid === undefined || name !== worker.name) return null;
  if (uid !== worker.uid) return 'its pod is gone, another one has its name';
  const all = status?.containerStatuses ?? [];
  const named = all.filter((container) => container.name === WORKER_CONTAINER);
  const ends = (named.length > 0 ? named : all).map((container) => endedSince(container, worker.startedAtMs));
  const [first] = ends;
  if (first === undefined || ends.includes(null)) return null;
  const { reason, exitCode, signal } = first as V1ContainerStateTerminated;
  const how = [reason, `exit code ${exitCode}`, signal === undefined ? '' : `signal ${signal}`];
  return `its container ended: ${how.filter(Boolean).join(', ')}`;
}

/** The end of a container; null for an older one, which may be that of the process before: the kubelet's news can be late. */
function endedSince({ state, lastState }: V1ContainerStatus, startedAtMs: number): V1ContainerStateTerminated | null {
  const ends = [state?.terminated, lastState?.terminated];
  const since = ends.find(
    ({ finishedAt } = { exitCode: 0 }) => finishedAt !== undefined && new Date(finishedAt).getTime() > startedAtMs,
  );
  return since ?? null;
}
