import type { PodCheck, WorkerPod } from '../../../kubernetes/pod-check.ts';
import type { Presence, Silence } from '../../presence/presence.ts';
import type { WorkerRegistry } from '../../presence/worker-registry.ts';
import type { Pass } from '../lease.ts';

/** What the Kubernetes API tells of workers' pods. */
export interface PodEvidence {
  prepare(): Promise<void>;
  /**
   * Which of some workers are over for certain, and how they ended; those that do not run in a pod, or did not say in which, never are.
   * @throws StoreUnavailableError where Redis is away; the Kubernetes API being away is no error
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

/** Those of some silent workers whose pods are gone: nobody need wait until their time to live is over. */
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
  // Who has beaten while the question was out lives, whatever the answer.
  const beats = new Map(
    (await presence.silences([...gone.keys()])).map(({ workerId, lastBeatMs }) => [workerId, lastBeatMs]),
  );
  return silent.flatMap((silence) => {
    const how = gone.get(silence.workerId);
    return how !== undefined && beats.get(silence.workerId) === silence.lastBeatMs ? [{ ...silence, how }] : [];
  });
}

const POD_UID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^.]+$/i;

/** The pod's UID in a worker id; null where the id begins with a host name, which is reused. */
export function podOf(workerId: string): string | null {
  return POD_UID.exec(workerId)?.[1] ?? null;
}
