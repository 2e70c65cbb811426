import type { PodCheck, WorkerPod } from '../../../kubernetes/pod-check.ts';
import type { Presence, Silence } from '../../presence/presence.ts';
import type { WorkerRegistry } from '../../presence/worker-registry.ts';
import type { Pass } from '../lease.ts';

/** Evidence from the Kubernetes API about the pods of workers. */
export interface PodEvidence {
  prepare(): Promise<void>;
  /**
   * Returns the workers that have certainly ended, and how. A worker that does not run in a pod, or did not say in
   * which one, is never returned.
   * @throws StoreUnavailableError if Redis is unavailable; an unavailable Kubernetes API is no error
   */
  goneOf(workerIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
}

export function createPodEvidence(check: PodCheck, registry: Pick<WorkerRegistry, 'descriptions'>): PodEvidence {
  return {
    prepare: () => check.prepare(),
    async goneOf(workerIds) {
      const descriptions = await registry.descriptions(workerIds);
      const pods = workerIds.flatMap((workerId, i): WorkerPod[] => {
        const uid = podOf(workerId);
        const { pod, startedAt } = descriptions[i] ?? {};
        if (uid === null || pod === undefined || startedAt === undefined) return [];
        return [{ workerId, uid, ...pod, startedAtMs: Date.parse(startedAt) }];
      });
      return pods.length === 0 ? new Map() : check.findGone(pods);
    },
  };
}

/** Returns the silent workers whose pods are gone. Their tasks need not wait until the time to live is over. */
export async function findGone(
  { pods, presence }: { readonly pods?: PodEvidence | undefined; readonly presence: Pick<Presence, 'silences'> },
  pass: Pass,
  silent: readonly Silence[],
): Promise<(Silence & { readonly how: string })[]> {
  if (pods === undefined || silent.length === 0) return [];
  await pass.keep();
  await pods.prepare();
  await pass.keep();
  const gone = await pods.goneOf(silent.map(({ workerId }) => workerId));
  if (gone.size === 0) return [];
  // A worker that has beaten since the question was asked is alive, whatever the answer.
  const beats = new Map(
    (await presence.silences([...gone.keys()])).map(({ workerId, lastBeatMs }) => [workerId, lastBeatMs]),
  );
  return silent.flatMap((silence) => {
    const how = gone.get(silence.workerId);
    return how !== undefined && beats.get(silence.workerId) === silence.lastBeatMs ? [{ ...silence, how }] : [];
  });
}

const POD_UID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^.]+$/i;

/** Returns the pod's UID in a worker id; null if the id begins with a host name, because host names are reused. */
export function podOf(workerId: string): string | null {
  return POD_UID.exec(workerId)?.[1] ?? null;
}
