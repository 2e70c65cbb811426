import { describe, expect, it } from 'vitest';
import { testClient } from '../../../test/harness/clients.ts';
import { RefusedDataError, StoreUnavailableError } from '../../core/errors.ts';
import { createQuotas, withinQuota } from './quotas.ts';

/** Quotas on a clock that stands still, with counts that the test sets. */
function setUp(unfinished = 0) {
  const state = { unfinished, counts: 0, most: 0, nowMs: 0, countMs: 0 };
  const quotas = createQuotas({
    clock: { monotonicMs: () => state.nowMs },
    async count(_client, most) {
      state.counts++;
      state.most = most;
      state.nowMs += state.countMs;
      return Math.min(state.unfinished, most);
    },
  });
  return { state, quotas };
}

const LIMITED = testClient('limited', { limits: { unfinishedMax: 10 } });
const outcome = (work: Promise<unknown> | null) =>
  Promise.resolve(work).then(
    () => 'admitted',
    ({ code }: { code: string }) => code,
  );

describe('createQuotas', () => {
  it('admits up to the quota, counting what it admitted since the last count', async () => {
    const { state, quotas } = setUp(4);
    expect(await outcome(quotas.admit(LIMITED, 5))).toBe('admitted');
    expect(await outcome(quotas.admit(LIMITED, 2))).toBe('quota_exceeded');
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('admitted');
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('quota_exceeded');
    expect([state.counts, state.most]).toEqual([1, 11]);
  });

  it('says the numbers, and when to try again', async () => {
    const { quotas } = setUp(40);
    await expect(quotas.admit(LIMITED, 3)).rejects.toMatchObject({
      status: 429,
      message: 'the client has 10 or more unfinished tasks, and may have 10; this request has 3',
      headers: { 'Retry-After': '2' },
    });
  });

  it('counts again after two seconds, and after a long count later', async () => {
    const { state, quotas } = setUp(10);
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('quota_exceeded');
    state.unfinished = 0;
    state.nowMs = 1_999;
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('quota_exceeded');
    state.nowMs = 2_000;
    state.countMs = 1_000;
    expect(await outcome(quotas.admit(LIMITED, 10))).toBe('admitted');
    state.nowMs += 19_999;
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('quota_exceeded');
    state.nowMs += 1;
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('admitted');
    expect(state.counts).toBe(3);
  });

  it('counts once for requests that arrive together, each client alone', async () => {
    const { state, quotas } = setUp(8);
    const other = testClient('other', { limits: { unfinishedMax: 10 } });
    const outcomes = await Promise.all([LIMITED, LIMITED, LIMITED, other].map((one) => outcome(quotas.admit(one, 1))));
    expect(outcomes).toEqual(['admitted', 'admitted', 'quota_exceeded', 'admitted']);
    expect(state.counts).toBe(2);
  });

  it('counts nothing for a client without a quota', async () => {
    const { state, quotas } = setUp(1_000);
    expect(quotas.admit(testClient('free', {}), 1_000)).toBeNull();
    expect(state.counts).toBe(0);
  });

  it('counts again after a count that failed', async () => {
    let fails = true;
    const quotas = createQuotas({
      async count() {
        if (fails) throw new StoreUnavailableError('postgresql', new Error('away'));
        return 0;
      },
    });
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('postgresql_unavailable');
    fails = false;
    expect(await outcome(quotas.admit(LIMITED, 1))).toBe('admitted');
  });

  it.each([0, 1])('refuses more than the whole quota in one request, with a quota of %i too', async (unfinishedMax) => {
    const { quotas } = setUp();
    const client = testClient('small', { limits: { unfinishedMax } });
    expect(await outcome(quotas.admit(client, unfinishedMax + 1))).toBe('quota_exceeded');
  });
});

describe('withinQuota', () => {
  const left = async (submit: () => Promise<{ created: number }>) => {
    const { quotas } = setUp();
    await withinQuota(quotas, LIMITED, 10, submit).catch(() => {});
    for (let free = 10; ; free--) {
      if ((await outcome(quotas.admit(LIMITED, free))) === 'admitted') return free;
    }
  };

  it('counts only the tasks that were created', async () => {
    expect(await left(async () => ({ created: 7 }))).toBe(3);
  });

  it('counts nothing after an error, unless the tasks may have been stored', async () => {
    expect(await left(() => Promise.reject(new RefusedDataError(new Error('no'))))).toBe(10);
    expect(await left(() => Promise.reject(new StoreUnavailableError('postgresql', new Error('away'))))).toBe(0);
  });
});
