import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createSweepQueue } from '../../../test/harness/sweeping.ts';
import { createIdSource } from '../../core/ids.ts';
import { memberOf, type Position, type Priority } from '../../core/priority.ts';
import type { SettledMember } from './task-queue.ts';

const LATEST_MS = Date.UTC(2100, 0);
let parts: TestParts;
let queue: string;
let nth = 0;

beforeAll(async () => {
  const stores = await createTestStores();
  parts = await openParts(stores.env);
});

beforeEach(async () => {
  queue = `queue-${nth++}`;
  await parts.queue.setSettings(queue, { version: 1, paused: false });
});

function at(ms: number, priority: Priority = 2, placeMs = ms): Position {
  return { id: createIdSource(() => ms, randomBytes).next('default'), priority, placeMs };
}

const positions = fc.uniqueArray(
  fc
    .record({
      ms: fc.integer({ min: 1, max: LATEST_MS }),
      place: fc.option(fc.integer({ min: 1, max: LATEST_MS }), { nil: undefined }),
      priority: fc.constantFrom<Priority>(1, 2, 3),
    })
    .map(({ ms, place, priority }) => at(ms, priority, place ?? ms)),
  { selector: ({ id }) => id, minLength: 1, maxLength: 60 },
);

function inOrder(list: readonly Position[]): string[] {
  return list
    .toSorted((a, b) => a.priority - b.priority || a.placeMs - b.placeMs || (a.id < b.id ? -1 : 1))
    .map(memberOf);
}

const now = (list: readonly Position[]) => list.map((position) => ({ position, waitMs: 0 }));

describe('claim', () => {
  it('hands out the smallest (priority, place, id), in any order of entry, also of moved tasks', async () => {
    await fc.assert(
      fc.asyncProperty(positions, async (list) => {
        await parts.queue.enqueue(queue, now(list));
        const first = await parts.queue.claim(queue, 'w', Math.ceil(list.length / 2));
        const second = await parts.queue.claim(queue, 'w', list.length);
        expect([...first.members, ...second.members]).toEqual(inOrder(list));
        await parts.queue.release(
          queue,
          'w',
          list.map((position) => ({ position, waitMs: null })),
        );
      }),
      { numRuns: 30 },
    );
  });

  it('promotes due members to the same places that enqueue gives', async () => {
    await fc.assert(
      fc.asyncProperty(positions, async (list) => {
        const { ready } = parts.keys.queue(queue);
        await parts.queue.enqueue(queue, now(list));
        const entered = await parts.redis.call((client) => client.zrange(ready, '0', '-1', 'WITHSCORES'));
        await parts.queue.drop(queue, list);
        await parts.queue.enqueue(
          queue,
          list.map((position) => ({ position, waitMs: 1 })),
        );
        await untilTrue(async () => (await parts.queue.counts(queue)).due === list.length);
        await parts.queue.claim(queue, 'w', 0);
        expect(await parts.redis.call((client) => client.zrange(ready, '0', '-1', 'WITHSCORES'))).toEqual(entered);
        await parts.queue.drop(queue, list);
      }),
      { numRuns: 20 },
    );
  });

  it('promotes a limited number per call, and the rest with later calls', async () => {
    const due = Array.from({ length: 501 }, (_, i) => ({ position: at(i + 1), waitMs: 1 }));
    await parts.queue.enqueue(queue, due);
    await untilTrue(async () => (await parts.queue.counts(queue)).due === 501);
    expect((await parts.queue.claim(queue, 'w', 0)).nextDueMs).toBe(0);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 500, due: 1 });
    expect((await parts.queue.claim(queue, 'w', 0)).nextDueMs).toBeNull();
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 501, due: 0 });
  });

  it('returns `unknown` and no members if there are no settings', async () => {
    await parts.queue.enqueue('without-settings', now([at(1)]));
    expect(await parts.queue.claim('without-settings', 'w', 1)).toEqual({
      state: 'unknown',
      members: [],
      nextDueMs: null,
    });
  });

  it('hands out nothing of a paused queue', async () => {
    await parts.queue.enqueue(queue, now([at(1)]));
    await parts.queue.setSettings(queue, { version: 2, paused: true });
    expect(await parts.queue.claim(queue, 'w', 1)).toMatchObject({ state: 'paused', members: [] });
  });

  it('returns when the next delayed task is due', async () => {
    await parts.queue.enqueue(queue, [{ position: at(1), waitMs: 60_000 }]);
    const { nextDueMs } = await parts.queue.claim(queue, 'w', 1);
    expect(nextDueMs).toBeGreaterThan(55_000);
    expect(nextDueMs).toBeLessThanOrEqual(60_000);
  });

  it('sets the marker again only while work is left', async () => {
    const { wake } = parts.keys.queue(queue);
    await parts.queue.enqueue(queue, now([at(1), at(2)]));
    await parts.redis.call((client) => client.del(wake));
    await parts.queue.claim(queue, 'w', 1);
    expect(await parts.redis.call((client) => client.zcard(wake))).toBe(1);
    await parts.redis.call((client) => client.del(wake));
    await parts.queue.claim(queue, 'w', 1);
    expect(await parts.redis.call((client) => client.zcard(wake))).toBe(0);
  });
});

describe('enqueue', () => {
  it('does not add a member that is in flight', async () => {
    const position = at(1);
    await parts.queue.enqueue(queue, now([position]));
    await parts.queue.claim(queue, 'w', 1);
    expect(await parts.queue.enqueue(queue, now([position]))).toBe(0);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, inflight: 1 });
  });

  it('moves a member between ready and delayed, never into both', async () => {
    const position = at(1);
    await parts.queue.enqueue(queue, now([position]));
    await parts.queue.enqueue(queue, [{ position, waitMs: 60_000 }]);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, delayed: 1 });
    await parts.queue.enqueue(queue, now([position]));
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 1, delayed: 0 });
  });

  it('accepts more tasks than one call of the script can', async () => {
    const list = Array.from({ length: 1_201 }, (_, i) => at(i + 1));
    expect(await parts.queue.enqueue(queue, now(list))).toBe(1_201);
  });
});

describe('settle and release', () => {
  it("do not erase a successor's claim", async () => {
    const position = at(1);
    await parts.queue.enqueue(queue, now([position]));
    await parts.queue.claim(queue, 'worker.2', 1);
    // A worker whose name is a prefix of the holder's name is not the holder.
    for (const zombie of ['zombie', 'worker.']) {
      await parts.queue.settle(queue, zombie, [{ position, verb: 'complete', waitMs: 0 }]);
      await parts.queue.release(queue, zombie, [{ position, waitMs: 0 }]);
    }
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, inflight: 1 });
    await parts.queue.settle(queue, 'worker.2', [{ position, verb: 'complete', waitMs: 0 }]);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, inflight: 0 });
  });

  it('put a retry into delayed, and count by verb', async () => {
    const [a, b] = [at(1), at(2)];
    await parts.queue.enqueue(queue, now([a, b]));
    await parts.queue.claim(queue, 'w', 2);
    await parts.queue.settle(queue, 'w', [
      { position: a, verb: 'retry', waitMs: 60_000 },
      { position: b, verb: 'complete', waitMs: 0 },
    ]);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, delayed: 1, inflight: 0 });
    expect(await parts.queue.settledCounts(queue)).toEqual({ retry: 1, complete: 1 });
  });

  it('let each of several retries wait for its own time', async () => {
    const list = [at(1), at(2), at(3)];
    await parts.queue.enqueue(queue, now(list));
    await parts.queue.claim(queue, 'w', 3);
    const waits = [0, 0, 60_000];
    const settled = list.map((position, i): SettledMember => ({ position, verb: 'retry', waitMs: waits[i] ?? 0 }));
    await parts.queue.settle(queue, 'w', settled);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, due: 2, delayed: 1, inflight: 0 });
  });

  it('settle more tasks than one call of the script can, in any order of verbs', async () => {
    const list = Array.from({ length: 1_201 }, (_, i) => at(i + 1));
    await parts.queue.enqueue(queue, now(list));
    await parts.queue.claim(queue, 'w', 1_201);
    const settled = list.map((position, i): SettledMember =>
      i % 7 === 3 ? { position, verb: 'retry', waitMs: 60_000 + (i % 2) } : { position, verb: 'complete', waitMs: 0 },
    );
    await parts.queue.settle(queue, 'w', settled);
    const retried = settled.filter(({ verb }) => verb === 'retry').length;
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, delayed: retried, inflight: 0 });
    expect(await parts.queue.settledCounts(queue)).toEqual({ retry: retried, complete: 1_201 - retried });
  });

  it('give a member back to its old place, delay it, or drop it', async () => {
    const list = [at(1), at(2), at(3), at(4)] as const;
    await parts.queue.enqueue(queue, now(list));
    await parts.queue.claim(queue, 'w', 3);
    await parts.queue.release(queue, 'w', [
      { position: list[0], waitMs: 0 },
      { position: list[1], waitMs: 60_000 },
      { position: list[2], waitMs: null },
    ]);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 2, delayed: 1, inflight: 0 });
    expect((await parts.queue.claim(queue, 'w', 9)).members).toEqual([memberOf(list[0]), memberOf(list[3])]);
  });
});

describe('the marker for blocked workers', () => {
  it('is set by every call that brings work, now or later, and by no other call', async () => {
    const sweepQueue = createSweepQueue(parts.redis, parts.keys);
    const { wake, inflight } = parts.keys.queue(queue);
    const isSetBy = async (work: () => Promise<unknown>): Promise<boolean> => {
      await parts.redis.call((client) => client.del(wake));
      await work();
      return (await parts.redis.call((client) => client.exists(wake))) === 1;
    };
    /** Claims a new task. @returns its position */
    const claimed = async (): Promise<Position> => {
      const position = at(++nth);
      await parts.queue.enqueue(queue, now([position]));
      await parts.queue.claim(queue, 'w', 1_000);
      return position;
    };
    const enqueue = async (position: Position, waitMs: number) =>
      isSetBy(() => parts.queue.enqueue(queue, [{ position, waitMs }]));
    const settle = async (verb: 'complete' | 'retry') => {
      const position = await claimed();
      return isSetBy(() => parts.queue.settle(queue, 'w', [{ position, verb, waitMs: 60_000 }]));
    };
    const release = async (waitMs: number | null) => {
      const position = await claimed();
      return isSetBy(() => parts.queue.release(queue, 'w', [{ position, waitMs }]));
    };
    const endClaim = async (waitMs: number | null) => {
      const position = await claimed();
      const member = memberOf(position);
      const value = (await parts.redis.call((client) => client.hget(inflight, member))) ?? '';
      const back = waitMs === null ? null : { position, waitMs };
      return isSetBy(() => sweepQueue.endClaims(queue, [{ claim: { member, value }, back }]));
    };

    expect({
      enqueue: [await enqueue(at(1), 0), await enqueue(at(2), 60_000), await enqueue(await claimed(), 0)],
      settle: [await settle('retry'), await settle('complete')],
      release: [await release(0), await release(60_000), await release(null)],
      endClaims: [await endClaim(0), await endClaim(60_000), await endClaim(null)],
    }).toEqual({
      enqueue: [true, true, false],
      settle: [true, false],
      release: [true, true, false],
      endClaims: [true, true, false],
    });
  });
});

describe('endClaims', () => {
  it('does not end a claim that has changed', async () => {
    const sweepQueue = createSweepQueue(parts.redis, parts.keys);
    const position = at(1);
    await parts.queue.enqueue(queue, now([position]));
    await parts.queue.claim(queue, 'w', 1);
    const claim = { member: memberOf(position), value: 'w 1' };
    expect(await sweepQueue.endClaims(queue, [{ claim, back: { position, waitMs: 0 } }])).toBe(0);
    expect(await parts.queue.counts(queue)).toMatchObject({ ready: 0, inflight: 1 });
  });
});

describe('inflightPage', () => {
  it('returns all holders, and the claims of a certain age or of some workers', async () => {
    const sweepQueue = createSweepQueue(parts.redis, parts.keys);
    const position = at(1);
    await parts.queue.enqueue(queue, now([position]));
    await parts.queue.claim(queue, 'w', 1);
    const found = async (minAgeMs: number, maxAgeMs: number, ...workerIds: string[]) => {
      const { holders, claims } = await sweepQueue.inflightPage(queue, '0', { minAgeMs, maxAgeMs, workerIds });
      expect(holders).toEqual(['w']);
      return claims.map(({ member }) => member);
    };
    expect(await found(0, 60_000)).toEqual([memberOf(position)]);
    expect(await found(60_000, 90_000)).toEqual([]);
    expect(await found(-90_000, -60_000)).toEqual([]);
    expect(await found(60_000, 90_000, 'w')).toEqual([memberOf(position)]);
    expect(await found(60_000, 90_000, 'v')).toEqual([]);
  });
});

describe('missing', () => {
  it('returns members that are missing or have been claimed for too long', async () => {
    const sweepQueue = createSweepQueue(parts.redis, parts.keys);
    const [ready, delayed, claimed, absent] = [at(1), at(2), at(3), at(4)];
    const members = [ready, delayed, claimed, absent].map(memberOf);
    await parts.queue.enqueue(queue, now([claimed]));
    await parts.queue.claim(queue, 'w', 1);
    await parts.queue.enqueue(queue, [
      { position: ready, waitMs: 0 },
      { position: delayed, waitMs: 60_000 },
    ]);
    const nowhere = { member: memberOf(absent), value: '' };
    expect(await sweepQueue.missing(queue, members, 60_000)).toEqual([nowhere]);
    const lost = { member: memberOf(claimed), value: expect.stringMatching(/^w \d+$/) };
    expect(await sweepQueue.missing(queue, members, 0)).toEqual([lost, nowhere]);
  });
});

describe('setSettings', () => {
  it('never lets an older version overwrite a newer one', async () => {
    await parts.queue.setSettings(queue, { version: 5, paused: true });
    await parts.queue.setSettings(queue, { version: 4, paused: false });
    expect((await parts.queue.counts(queue)).paused).toBe(true);
    await parts.queue.setSettings(queue, { version: 6, paused: false });
    expect((await parts.queue.counts(queue)).paused).toBe(false);
  });

  it('overwrites only the newer version that PostgreSQL has lost', async () => {
    await parts.queue.setSettings(queue, { version: 6, paused: true });
    await parts.queue.setSettings(queue, { version: 2, paused: false }, 5);
    expect((await parts.queue.counts(queue)).paused).toBe(true);
    await parts.queue.setSettings(queue, { version: 2, paused: false }, 6);
    expect((await parts.queue.counts(queue)).paused).toBe(false);
  });
});

describe('setSettings without a change', () => {
  it('wakes no worker', async () => {
    const { wake } = parts.keys.queue(queue);
    await parts.redis.call((client) => client.del(wake));
    await parts.queue.setSettings(queue, { version: 1, paused: false });
    expect(await parts.redis.call((client) => client.exists(wake))).toBe(0);
    await parts.queue.setSettings(queue, { version: 2, paused: true });
    expect(await parts.redis.call((client) => client.exists(wake))).toBe(1);
  });
});

describe('counts', () => {
  it('return the next tasks of each priority, a few of each', async () => {
    const urgent = [at(30, 1), at(20, 1), at(50, 1), at(40, 1)];
    await parts.queue.enqueue(queue, now([...urgent, at(10, 3)]));
    const next = urgent.toSorted((a, b) => a.placeMs - b.placeMs).slice(0, 3);
    const { nextIds } = await parts.queue.counts(queue);
    expect(nextIds.slice(0, 3)).toEqual(next.map(({ id }) => id));
    expect(nextIds).toHaveLength(4);
  });
});
