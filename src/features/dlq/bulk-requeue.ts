import { BULK_REQUEUE_MS } from '../../config/timings.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import {
  REQUEUE_START,
  type RequeueStore,
  type DeadLetterFilter,
  type RequeuedTask,
  type RequeuePlan,
  type RequeueProgress,
} from './requeue-store.ts';

/** Rows of one statement: long enough to be fast, short enough to hold no locks for long. */
const BATCH = 1_000;

export interface BulkRequeueOptions {
  readonly store: Pick<RequeueStore, 'requeueBatch' | 'countBatch'>;
  /** Called with what each batch has committed. */
  readonly onRequeued: (tasks: readonly RequeuedTask[]) => Promise<void>;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  /** After this many milliseconds no further batch is begun. */
  readonly timeMs?: number;
}

export interface BulkRequeued {
  readonly matched: number;
  readonly requeued: number;
  /** Where to go on; null if no dead letter is left to look at. */
  readonly next: RequeueProgress | null;
}

/**
 * Requeues what a filter names, batch by batch, each committed by itself. It ends
 * at `limit`, when its time is over, or when PostgreSQL stops answering after the first batch:
 * what was done by then is told, and `next` goes on behind it.
 * @throws StoreUnavailableError if not even the first batch was done
 */
export function requeueInBatches(
  options: BulkRequeueOptions,
  filter: DeadLetterFilter,
  plan: RequeuePlan,
  from: RequeueProgress | null,
  limit: number,
): Promise<BulkRequeued> {
  const { store, onRequeued } = options;
  return inBatches(options, from, limit, async (progress, left) => {
    const batch = await store.requeueBatch(filter, plan, progress, Math.min(BATCH, left));
    await onRequeued(batch.tasks);
    return { matched: batch.matched, requeued: batch.tasks.length, next: batch.next };
  });
}

/** Counts, in the same way, what a requeue would take; `limit` is not passed by. */
export async function countInBatches(
  options: BulkRequeueOptions,
  filter: DeadLetterFilter,
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
