import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TestParts } from '../../../test/harness/parts.ts';
import { openParts } from '../../../test/harness/parts.ts';
import { startRedis } from '../../../test/harness/private-stores.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { createRateLimiter } from './rate-limiter.ts';
import { takeTokens, type BucketDecision, type BucketLimits, type BucketState } from './token-bucket.ts';

let parts: TestParts;
let nth = 0;

beforeAll(async () => {
  const stores = await createTestStores();
  parts = await openParts(stores.env);
});

/** A limiter whose subjects all have the same limits. */
function limiterOf({ redis, keys }: Pick<TestParts, 'redis' | 'keys'>, limits: BucketLimits) {
  const limiter = createRateLimiter(redis, keys);
  return {
    take: (subject: string, cost: number, paid?: number) => limiter.take({ subject, limits }, cost, paid),
  };
}

describe('rate-limit.lua', () => {
  it('decides as takeTokens() does', async () => {
    // The refill is so slow that the time between two calls adds no relevant amount.
    const limits = { capacity: 50, refillPerSecond: 1e-6 };
    const requests = fc.array(fc.record({ cost: fc.integer({ min: -30, max: 80 }), paid: fc.constantFrom(0, 1) }), {
      maxLength: 30,
    });
    await fc.assert(
      fc.asyncProperty(requests, async (list) => {
        const limiter = limiterOf(parts, limits);
        const subject = `subject-${nth++}`;
        // All requests are made in one turn, so that one call decides on them.
        const decisions = await Promise.all(list.map(({ cost, paid }) => limiter.take(subject, cost, paid)));
        let state: BucketState | undefined;
        for (const [i, { cost, paid }] of list.entries()) {
          const model = takeTokens(limits, state, 0, cost, paid);
          state = model.state;
          const decision = decisions[i] as BucketDecision;
          expect(decision.admitted).toBe(model.decision.admitted);
          expect(decision.remaining).toBe(model.decision.remaining);
          // Compared in tokens, because the time between two calls adds almost none.
          const told = (seconds: number): number => seconds * limits.refillPerSecond;
          expect(told(decision.retryAfterSeconds)).toBeCloseTo(told(model.decision.retryAfterSeconds), 3);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('keeps the tokens between calls', async () => {
    const limiter = limiterOf(parts, { capacity: 50, refillPerSecond: 1e-6 });
    const subject = `subject-${nth++}`;
    expect((await limiter.take(subject, 20)).remaining).toBe(30);
    expect((await limiter.take(subject, 20)).remaining).toBe(10);
    expect((await limiter.take(subject, 20)).admitted).toBe(false);
  });

  it('refills smoothly by the clock of Redis', async () => {
    const limiter = limiterOf(parts, { capacity: 1, refillPerSecond: 20 });
    const subject = `subject-${nth++}`;
    expect((await limiter.take(subject, 1)).admitted).toBe(true);
    const refused = await limiter.take(subject, 1);
    expect(refused.admitted).toBe(false);
    expect(refused.retryAfterSeconds).toBeLessThanOrEqual(0.05);
    await expect.poll(async () => (await limiter.take(subject, 1)).admitted).toBe(true);
  });
});

describe('createRateLimiter', () => {
  it('makes one call for all requests of a subject in one turn, up to 500 per call', async () => {
    const calls: number[] = [];
    const counting: RedisConnection = {
      ...parts.redis,
      script: (script, keys, args) => {
        calls.push((args.length - 2) / 2);
        return parts.redis.script(script, keys, args);
      },
    };
    const limiter = limiterOf({ ...parts, redis: counting }, { capacity: 700, refillPerSecond: 1e-6 });
    const [busy, other] = [`subject-${nth++}`, `subject-${nth++}`];
    const decisions = await Promise.all([
      ...Array.from({ length: 600 }, () => limiter.take(busy, 2)),
      limiter.take(other, 1),
    ]);
    expect(calls).toEqual([500, 100, 1]);
    expect(decisions.slice(0, 600).map(({ admitted }) => admitted)).toEqual(
      Array.from({ length: 600 }, (_, i) => i < 350),
    );
    expect(decisions[600]?.remaining).toBe(699);
  });

  it('counts a subject by its latest limits when they change', async () => {
    const limiter = createRateLimiter(parts.redis, parts.keys);
    const subject = `subject-${nth++}`;
    const limits = (capacity: number) => ({ subject, limits: { capacity, refillPerSecond: 1e-6 } });
    expect((await limiter.take(limits(50), 10)).remaining).toBe(40);
    expect((await limiter.take(limits(20), 1)).remaining).toBe(19);
    expect((await limiter.take(limits(100), 1)).remaining).toBe(18);
  });

  it('uses a local bucket while Redis is away', async () => {
    const server = await startRedis();
    const stores = await createTestStores({ redisUrl: server.url });
    const alone = await openParts(stores.env);
    await server.stop();
    const limiter = limiterOf(alone, { capacity: 5, refillPerSecond: 0.001 });
    const decisions = [];
    for (let i = 0; i < 7; i++) decisions.push(await limiter.take('subject', 1));
    expect(decisions.filter(({ admitted }) => admitted)).toHaveLength(5);
  });
});
