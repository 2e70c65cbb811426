import { z } from 'zod';
import { StoreUnavailableError } from '../core/errors.ts';
import type { QueueCounts, TaskQueue } from '../queue/task-queue.ts';

export const queueCountsSchema = z
  .object({
    ready: z.int().meta({ description: 'may be claimed' }),
    due: z.int().meta({ description: 'delayed ones whose time has come' }),
    delayed: z.int().meta({ description: 'wait for their time' }),
    inflight: z.int().meta({ description: 'claimed or running' }),
  })
  .meta({ id: 'QueueCounts' });

export interface CountedQueue {
  /** Null while Redis is away. */
  readonly counts: z.input<typeof queueCountsSchema> | null;
  /** Seconds since the place of the oldest task that heads a priority; null if none is ready or Redis is away. */
  readonly oldestReadyAge: number | null;
}

/**
 * Counts queues in Redis, in the order given; nulls while Redis is away.
 * @param databaseNowMs milliseconds since 1970 by PostgreSQL's clock, which places are counted in
 */
export async function countQueues(
  queue: Pick<TaskQueue, 'counts'>,
  names: readonly string[],
  databaseNowMs: () => number,
): Promise<CountedQueue[]> {
  try {
    const all = await Promise.all(names.map((name) => queue.counts(name)));
    const nowMs = databaseNowMs();
    return all.map((counts) => countedQueue(counts, nowMs));
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return names.map(() => ({ counts: null, oldestReadyAge: null }));
  }
}

function countedQueue(all: QueueCounts, nowMs: number): CountedQueue {
  const { ready, due, delayed, inflight } = all;
  const oldestReadyAge = all.headPlacesMs.length === 0 ? null : Math.round(oldestAgeMs(all, nowMs)) / 1_000;
  return { counts: { ready, due, delayed, inflight }, oldestReadyAge };
}

/** Milliseconds since the place of the oldest task that heads a priority; 0 if none is ready. */
export function oldestAgeMs(counts: QueueCounts, nowMs: number): number {
  return Math.max(0, nowMs - Math.min(nowMs, ...counts.headPlacesMs));
}
