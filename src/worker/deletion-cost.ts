import { DELETION_COST_INTERVAL_MS } from '../config/timings.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import type { OwnPod } from '../kubernetes/own-pod.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface DeletionCost extends Service {
  /** Reports the cost if it has changed enough. @throws KubernetesApiError */
  runOnce(signal: AbortSignal): Promise<void>;
}

export interface DeletionCostOptions {
  readonly slots: Pick<Slots, 'busy' | 'total'>;
  readonly ownPod: OwnPod;
  readonly log: Logger;
  readonly intervalMs?: number;
}

/**
 * Tells Kubernetes how many tasks the removal of this pod would interrupt, so that a Deployment that shrinks removes idle
 * pods first. This is best effort: nothing depends on it.
 */
export function createDeletionCost(options: DeletionCostOptions): DeletionCost {
  const { slots, ownPod, log, intervalMs = DELETION_COST_INTERVAL_MS } = options;
  // Null at first, because an earlier process of the pod may have left another cost.
  let told: number | null = null;
  let failing = false;

  const runOnce = async (signal: AbortSignal): Promise<void> => {
    const cost = slots.busy;
    if (told !== null && !isWorthTelling(told, cost, slots.total)) return;
    await ownPod.setDeletionCost(cost, signal);
    told = cost;
    if (failing) log.info("the pod's deletion cost can be told again");
    failing = false;
  };

  const loop = createLoop({
    name: 'deletion-cost',
    intervalMs,
    jitter: 0.2,
    runOnce,
    onError(error) {
      if (!failing) log.warn({ err: error }, "the pod's deletion cost could not be told");
      failing = true;
    },
  });
  return {
    name: 'deletion-cost',
    runOnce,
    start: () => loop.start(),
    async stop() {
      await loop.stop();
      await ownPod.close();
    },
  };
}

/** Returns true for every change between idle and busy, and otherwise from a change of a quarter of all slots. */
export function isWorthTelling(told: number, cost: number, slots: number): boolean {
  if (told === cost) return false;
  return told === 0 || cost === 0 || Math.abs(cost - told) >= slots / 4;
}
