import { BULK_REQUEUE_MS } from '../../config/timings.ts';
import type { Actor } from '../../core/access/audit.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import {
  REQUEUE_START,
  type RequeueStore,
  type SeenDeadLetterFilter,
  type RequeuedTask,
  type RequeuePlan,
  type RequeueProgress,
} from './requeue-store.ts';

/** Rows of one statement: enough to be efficient, but few enough that locks are held only briefly. */
const BATCH = 1_000;

export interface BulkRequeueOptions {
  readonly store: Pick<RequeueStore, 'requeueBatch' | 'countBatch'>;
  /** Called with the tasks of each committed batch. */
  readonly onRequeued: (tasks: readonly RequeuedTask[]) => Promise<void>;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  /** No further batch is started after this many milliseconds. */
  readonly timeMs?: number;
}

export interface BulkRequeued {
  readonly matched: number;
  readonly requeued: number;
  /** Where the next request continues; null if no dead letter is left to look at. */
  readonly next: RequeueProgress | null;
}

/**
 * Requeues the dead letters that match a filter, in batches that are committed separately. It stops at `limit`, when
 * its time is over, or when PostgreSQL stops answering after the first batch. The result counts the finished batches,
 * and `next` continues after them.
 * @throws StoreUnavailableError if the first batch failed
 */
export function requeueInBatches(
  options: BulkRequeueOptions,
  filter: SeenDeadLetterFilter,
  plan: RequeuePlan,
  from: RequeueProgress | null,
  limit: number,
  by: Actor,
): Promise<BulkRequeued> {
  const { store, onRequeued } = options;
  return inBatches(options, from, limit, async (progress, left) => {
    const batch = await store.requeueBatch(filter, plan, progress, Math.min(BATCH, left), by);
    await onRequeued(batch.tasks);
    return { matched: batch.matched, requeued: batch.tasks.length, next: batch.next };
  });
}

/** Counts, in the same way, the dead letters that a requeue would take, up to `limit`. */
export async function countInBatches(
  options: BulkRequeueOptions,
  filter: SeenDeadLetterFilter,
  from: RequeueProgress | null,
  limit: number,
): Promise<BulkRequeued> {
  const { matched, ...rest } = await inBatches(options, from, limit, async (progress) => {
    const batch = await options.store.countBatch(filter, progress);
    return { ...batch, requeued: 0 };
  });
  return { ...rest, matched: Math.min(matched, limit) };
}

async function inBatches(
  { clock = systemClock, timeMs = BULK_REQUEUE_MS }: BulkRequeueOptions,
  from: RequeueProgress | null,
  limit: number,
  batch: (progress: RequeueProgress, left: number) => Promise<BulkRequeued>,
): Promise<BulkRequeued> {
  const untilMs = clock.monotonicMs() + timeMs;
  let done: BulkRequeued = { matched: 0, requeued: 0, next: from ?? REQUEUE_START };
  for (let batches = 0; done.next !== null && done.matched < limit; batches++) {
    if (batches > 0 && clock.monotonicMs() >= untilMs) break;
    try {
      const { matched, requeued, next } = await batch(done.next, limit - done.matched);
      done = { matched: done.matched + matched, requeued: done.requeued + requeued, next };
    } catch (error) {
      if (batches === 0 || !(error instanceof StoreUnavailableError)) throw error;
      break;
    }
  }
  return done;
}
