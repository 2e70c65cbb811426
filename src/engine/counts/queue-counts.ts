import { z } from 'zod';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { ReadyAges } from './ready-ages.ts';

export const queueCountsSchema = z
  .object({
    ready: z.int().meta({ description: 'tasks that may be claimed' }),
    due: z.int().meta({ description: 'delayed tasks that are due' }),
    delayed: z.int().meta({ description: 'delayed tasks that are not due yet' }),
    inflight: z.int().meta({ description: 'tasks that are claimed or running' }),
  })
  .meta({ id: 'QueueCounts' });

export interface CountedQueue {
  /** Null while Redis is unavailable. */
  readonly counts: z.input<typeof queueCountsSchema> | null;
  /**
   * Seconds for which the oldest of the next ready tasks has been ready.
   * Null if no task is ready or a store is unavailable.
   */
  readonly oldestReadyAge: number | null;
}

/** Counts the tasks of queues in Redis, in the order given. The counts are null while Redis is unavailable. */
export async function countQueues(
  queue: Pick<TaskQueue, 'counts'>,
  names: readonly string[],
  readyAges: ReadyAges,
): Promise<CountedQueue[]> {
  const all = await unlessAway(Promise.all(names.map((name) => queue.counts(name))));
  if (all === null) return names.map(() => ({ counts: null, oldestReadyAge: null }));
  const ages = await unlessAway(readyAges(all.map(({ nextIds }) => nextIds)));
  return all.map(({ ready, due, delayed, inflight }, i) => {
    const ageMs = ages?.[i] ?? null;
    return {
      counts: { ready, due, delayed, inflight },
      oldestReadyAge: ageMs === null ? null : Math.round(ageMs) / 1_000,
    };
  });
}

async function unlessAway<Value>(value: Promise<Value>): Promise<Value | null> {
  try {
    return await value;
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return null;
  }
}
