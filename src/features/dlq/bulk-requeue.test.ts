import { describe, expect, it } from 'vitest';
import { anActor } from '../../../test/harness/task-stores.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { countInBatches, requeueInBatches } from './bulk-requeue.ts';
import { ANY_DEAD_LETTER, type RequeueStore, type RequeuedTask, type RequeueProgress } from './requeue-store.ts';

const BY = anActor();
const PLAN = { place: 'keep', spacingMs: null } as const;

/** A store with the given number of matching dead letters. Each batch takes one second, and the given batch fails. */
function fakeStore(letters: number, failingBatch = -1) {
  let nowMs = 0;
  let batches = 0;
  const take = ({ after, requeued }: RequeueProgress, most: number) => {
    if (batches++ === failingBatch) throw new StoreUnavailableError('postgresql', new Error('gone'));
    nowMs += 1_000;
    const matched = Math.min(most, letters - after.attempt);
    const attempt = after.attempt + matched;
    const next = attempt < letters ? { after: { ...after, attempt }, baseMs: 1, requeued: requeued + matched } : null;
    return { matched, next };
  };
  const store: Pick<RequeueStore, 'requeueBatch' | 'countBatch'> = {
    async requeueBatch(_filter, _plan, progress, most) {
      const { matched, next } = take(progress, most);
      const position = { id: 'a', priority: 2, placeMs: 1 } as const;
      return { matched, next, tasks: Array.from({ length: matched }, () => ({ queue: 'q', position, waitMs: 0 })) };
    },
    countBatch: async (_filter, progress) => take(progress, 10_000),
  };
  const entered: RequeuedTask[] = [];
  const onRequeued = async (tasks: readonly RequeuedTask[]): Promise<void> => void entered.push(...tasks);
  return { store, entered, onRequeued, clock: { monotonicMs: () => nowMs }, timeMs: 3_000 };
}

describe('requeueInBatches', () => {
  it('stops when its time is over, reports its progress, and continues from there', async () => {
    const bulk = fakeStore(4_500);
    const first = await requeueInBatches(bulk, ANY_DEAD_LETTER, PLAN, null, Infinity, BY);
    expect(first).toMatchObject({ matched: 3_000, requeued: 3_000, next: { baseMs: 1, requeued: 3_000 } });
    expect(await requeueInBatches(bulk, ANY_DEAD_LETTER, PLAN, first.next, Infinity, BY)).toEqual({
      matched: 1_500,
      requeued: 1_500,
      next: null,
    });
    expect(bulk.entered).toHaveLength(4_500);
  });

  it('requeues no more than its limit', async () => {
    const bulk = fakeStore(4_500);
    const done = await requeueInBatches(bulk, ANY_DEAD_LETTER, PLAN, null, 1_200, BY);
    expect(done).toMatchObject({ matched: 1_200, requeued: 1_200, next: { requeued: 1_200 } });
  });

  it('reports the finished batches when PostgreSQL stops answering later', async () => {
    const bulk = fakeStore(4_500, 2);
    const done = await requeueInBatches(bulk, ANY_DEAD_LETTER, PLAN, null, Infinity, BY);
    expect(done).toMatchObject({ requeued: 2_000, next: { requeued: 2_000 } });
    expect(bulk.entered).toHaveLength(2_000);
  });

  it('fails when PostgreSQL does not answer the first batch', async () => {
    await expect(requeueInBatches(fakeStore(1, 0), ANY_DEAD_LETTER, PLAN, null, 1, BY)).rejects.toThrow(
      StoreUnavailableError,
    );
  });
});

describe('countInBatches', () => {
  it('counts up to its limit, and stops when its time is over', async () => {
    expect(await countInBatches(fakeStore(15_000), ANY_DEAD_LETTER, null, Infinity)).toEqual({
      matched: 15_000,
      requeued: 0,
      next: null,
    });
    expect((await countInBatches(fakeStore(15_000), ANY_DEAD_LETTER, null, 700)).matched).toBe(700);
    const many = await countInBatches(fakeStore(45_000), ANY_DEAD_LETTER, null, Infinity);
    expect(many).toMatchObject({ matched: 30_000, next: { after: { attempt: 30_000 } } });
  });
});
