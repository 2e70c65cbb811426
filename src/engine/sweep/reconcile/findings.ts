import type { QueueRow } from '../../order/queue-settings.ts';
import type { ClaimEntry, QueueLook } from './reconcile-queue.ts';

/** The state of a queue in both stores at the start of a pass. */
export type SweptQueue = QueueRow & QueueLook;

/** Claims from the in-flight hashes of all queues. */
export interface FoundClaims {
  /** Ids of the workers that hold at least one claim. */
  readonly holders: ReadonlySet<string>;
  readonly claims: readonly { readonly queue: string; readonly claims: readonly ClaimEntry[] }[];
}

/** Results of earlier duties of a pass that later ones use; null if the earlier duty failed. */
export interface Findings {
  queues: readonly SweptQueue[] | null;
  claims: FoundClaims | null;
}
