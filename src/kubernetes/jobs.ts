import type { V1ContainerStatus, V1Job, V1Pod } from '@kubernetes/client-node';
import { JOB_KEPT_SECONDS } from '../config/timings.ts';
import { KubernetesApiError, type KubernetesClient } from './client.ts';

/** A container to run once. */
export interface WantedJob {
  readonly name: string;
  /** A UUID. `namesOf` finds all jobs of a group. */
  readonly group: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly resources: { readonly requests?: Quantities | undefined; readonly limits?: Quantities | undefined };
  /** Null means the user of the image, which must not be root. */
  readonly runAsUser: number | null;
  /** Kubernetes ends the job after this many seconds, even if no worker watches it any more. */
  readonly deadlineSeconds: number;
}

/** The settings that all jobs of an installation share. */
export interface JobSurroundings {
  readonly labels: Readonly<Record<string, string>>;
  /** Names of Secrets in the jobs' namespace. */
  readonly pullSecrets: readonly string[];
}

export type Quantities = Readonly<Record<string, string>>;

/** The observed state of a job. */
export interface JobLook {
  readonly state: 'waiting' | 'running' | 'succeeded' | 'failed';
  /** Exit code of the container; null while it runs, and if Kubernetes has deleted its pod. */
  readonly exitCode: number | null;
  /** Kubernetes' name for the reason why the job waits or failed, such as `ImagePullBackOff`. */
  readonly reason: string | null;
  readonly message: string | null;
}

/** Manages jobs in one namespace. Every method throws KubernetesApiError. */
export interface Jobs {
  /** Creates a job. Does nothing if a job of that name exists. */
  create(job: WantedJob, signal: AbortSignal): Promise<void>;
  /** Returns the state of a job; null if there is none. */
  look(name: string, signal: AbortSignal): Promise<JobLook | null>;
  /** Returns the last lines of the container's output. */
  tail(name: string, lines: number, signal: AbortSignal): Promise<string>;
  /** Ends and deletes a job. It exists until its pod has ended. Does nothing if there is none. */
  remove(name: string): Promise<void>;
  /** Returns the names of the jobs of a group. */
  namesOf(group: string, signal: AbortSignal): Promise<string[]>;
  close(): Promise<void>;
}

const GROUP = 'distributed-task-scheduler/task-id';
const JOB_NAME = 'batch.kubernetes.io/job-name';
const CONTAINER = 'task';

/** Maximum number of bytes that are read of a log, even if its lines are longer. */
const LOG_BYTES = 1_048_576;

/** Needs the rights to create, get, list and delete jobs, to list pods, and to get pods/log. */
export function createJobs(
  client: KubernetesClient,
  namespace: string,
  surroundings: JobSurroundings = { labels: {}, pullSecrets: [] },
): Jobs {
  const podOf = async (name: string, signal: AbortSignal): Promise<V1Pod | undefined> => {
    const labelSelector = `${JOB_NAME}=${name}`;
    const { items } = await client.call(
      ({ core }, call) => core.listNamespacedPod({ namespace, labelSelector, limit: 1 }, call),
      { signal },
    );
    return items[0];
  };

  return {
    async create(job, signal) {
      const body = manifestOf(job, surroundings);
      await client
        .call(({ batch }, call) => batch.createNamespacedJob({ namespace, body }, call), { signal })
        .catch(unlessStatus(409));
    },
    async look(name, signal) {
      const job = await client
        .call(({ batch }, call) => batch.readNamespacedJob({ name, namespace }, call), { signal })
        .catch(unlessStatus(404));
      if (job === undefined) return null;
      return describeJob(job, await podOf(name, signal));
    },
    async tail(name, lines, signal) {
      const pod = await podOf(name, signal);
      const podName = pod?.metadata?.name;
      if (podName === undefined) return '';
      return client.call(
        ({ core }, call) =>
          core.readNamespacedPodLog(
            { name: podName, namespace, container: CONTAINER, tailLines: lines, limitBytes: LOG_BYTES },
            call,
          ),
        { signal },
      );
    },
    async remove(name) {
      // Foreground deletion keeps the name in use until the pod has ended.
      await client
        .call(({ batch }, call) =>
          batch.deleteNamespacedJob({ name, namespace, propagationPolicy: 'Foreground' }, call),
        )
        .catch(unlessStatus(404));
    },
    async namesOf(group, signal) {
      const labelSelector = `${GROUP}=${group}`;
      const { items } = await client.call(
        ({ batch }, call) => batch.listNamespacedJob({ namespace, labelSelector }, call),
        { signal },
      );
      return items.flatMap(({ metadata }) => metadata?.name ?? []);
    },
    close: () => client.close(),
  };
}

/** The job never restarts by itself, because the scheduler counts attempts. The pod passes Pod Security "restricted". */
function manifestOf(job: WantedJob, surroundings: JobSurroundings): V1Job {
  const labels = {
    ...surroundings.labels,
    'app.kubernetes.io/managed-by': 'distributed-task-scheduler',
    [GROUP]: job.group,
  };
  const { requests, limits } = job.resources;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: job.name, labels, annotations: { ...job.annotations } },
    spec: {
      backoffLimit: 0,
      activeDeadlineSeconds: job.deadlineSeconds,
      ttlSecondsAfterFinished: JOB_KEPT_SECONDS,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: 'Never',
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          ...(surroundings.pullSecrets.length > 0 && {
            imagePullSecrets: surroundings.pullSecrets.map((name) => ({ name })),
          }),
          securityContext: {
            runAsNonRoot: true,
            seccompProfile: { type: 'RuntimeDefault' },
            ...(job.runAsUser === null ? {} : { runAsUser: job.runAsUser }),
          },
          containers: [
            {
              name: CONTAINER,
              image: job.image,
              ...(job.command.length > 0 ? { command: [...job.command] } : {}),
              ...(job.args.length > 0 ? { args: [...job.args] } : {}),
              env: Object.entries(job.env).map(([name, value]) => ({ name, value })),
              resources: { ...(requests && { requests }), ...(limits && { limits }) },
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            },
          ],
        },
      },
    },
  };
}

function describeJob({ status }: V1Job, pod: V1Pod | undefined): JobLook {
  const container = pod?.status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  const ended = container?.state?.terminated;
  const exitCode = ended?.exitCode ?? null;
  const failed = conditionOf(status?.conditions, 'Failed');
  if (failed !== undefined)
    return {
      state: 'failed',
      exitCode,
      reason: ended?.reason ?? failed.reason ?? null,
      message: ended?.message ?? failed.message ?? null,
    };
  if (conditionOf(status?.conditions, 'Complete') !== undefined)
    return { state: 'succeeded', exitCode: exitCode ?? 0, reason: null, message: null };
  if (container?.state?.running !== undefined || ended !== undefined)
    return { state: 'running', exitCode: null, reason: null, message: null };
  return { state: 'waiting', exitCode: null, ...whyWaiting(container, pod) };
}

function whyWaiting(
  container: V1ContainerStatus | undefined,
  pod: V1Pod | undefined,
): Pick<JobLook, 'reason' | 'message'> {
  const { waiting } = container?.state ?? {};
  if (waiting !== undefined) return { reason: waiting.reason ?? null, message: waiting.message ?? null };
  const scheduled = pod?.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  return { reason: scheduled?.reason ?? null, message: scheduled?.message ?? null };
}

function conditionOf<Condition extends { readonly type: string; readonly status: string }>(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type && condition.status === 'True');
}

function unlessStatus(status: number): (error: unknown) => undefined {
  return (error) => {
    if (error instanceof KubernetesApiError && error.status === status) return undefined;
    throw error;
  };
}
