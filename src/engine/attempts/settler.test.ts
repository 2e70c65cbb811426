import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { RefusedDataError, StoreUnavailableError } from '../../core/errors.ts';
import type { SettledOutcome } from './aftermath.ts';
import type { Settlement, SettleResult } from './attempt-store.ts';
import { judgeResult } from './judge.ts';
import { releaseOf, type OpenOutcome } from './open-outcome.ts';
import { createSettler, SettleGivenUpError } from './settler.ts';

type Settle = (settlements: readonly Settlement[]) => Promise<SettleResult[]>;

function bench(settle: Settle, options: { giveUpMs?: number; lastMs?: number } = {}) {
  const batches: (readonly Settlement[])[] = [];
  const settled: SettledOutcome[] = [];
  const settler = createSettler({
    workerId: 'w',
    store: {
      settle(_, settlements) {
        batches.push(settlements);
        return settle(settlements);
      },
    },
    onSettled: (batch) => settled.push(...batch),
    log: pino({ level: 'silent' }),
    retryMs: { min: 1, max: 2 },
    ...options,
  });
  return { settler, batches, settled, sizes: () => batches.map(({ length }) => length) };
}

function outcomes(count: number, from = 1): OpenOutcome[] {
  return Array.from({ length: count }, (_, i) => {
    const open = releaseOf({ ...fakeTask, attempt: from + i });
    return { ...open, settlement: { ...open.settlement, ...judgeResult(i) } };
  });
}

const verdicts = (settlements: readonly Settlement[], verdict: SettleResult['verdict'] = 'settled'): SettleResult[] =>
  settlements.map(({ id, attempt, outcome }) => ({
    id,
    attempt,
    verdict,
    verb: verdict === 'stale' ? null : outcome.verb,
  }));
const accept: Settle = async (settlements) => verdicts(settlements);
const unavailable = (): never => {
  throw new StoreUnavailableError('postgresql', new Error('gone'));
};

describe('the settler', () => {
  test('writes outcomes that arrive together in one statement, and each attempt only once', async () => {
    const { settler, sizes, settled } = bench(accept);
    const given = outcomes(3);
    for (const open of [...given, ...given]) settler.add(open);
    expect(given.map(({ token }) => settler.has(token))).toEqual([true, true, true]);
    expect(await settler.drain(1_000)).toBe(true);
    expect(sizes()).toEqual([3]);
    expect(settled.map(({ open }) => open)).toEqual(given);
    expect(given.some(({ token }) => settler.has(token))).toBe(false);
  });

  test('runs at most two statements at the same time, with at most 400 outcomes each', async () => {
    const gates: (() => void)[] = [];
    const { settler, sizes } = bench(async (settlements) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return verdicts(settlements);
    });
    for (const open of outcomes(1_000)) settler.add(open);
    await expect.poll(() => gates.length).toBe(2);
    expect(sizes()).toEqual([400, 400]);
    gates[0]?.();
    await expect.poll(() => gates.length).toBe(3);
    expect(sizes()).toEqual([400, 400, 200]);
    for (const open of gates) open();
    expect(await settler.drain(1_000)).toBe(true);
  });

  test('has no room for more while thousands are open and statements hang', async () => {
    const gate = Promise.withResolvers<void>();
    const { settler } = bench(async (settlements) => {
      await gate.promise;
      return verdicts(settlements);
    });
    const { signal } = new AbortController();
    for (const open of outcomes(3_999)) settler.add(open);
    expect(await settler.waitForRoom(1, signal)).toBe(true);
    settler.add(outcomes(1, 4_000)[0] as OpenOutcome);
    expect(await settler.waitForRoom(1, signal)).toBe(false);
    expect(await settler.waitForRoom(60_000, AbortSignal.abort())).toBe(false);
    const room = settler.waitForRoom(60_000, signal);
    gate.resolve();
    expect(await room).toBe(true);
    expect(await settler.drain(1_000)).toBe(true);
  });

  test('has no room for more while long results are open, and splits them over several statements', async () => {
    const gate = Promise.withResolvers<void>();
    const { settler, sizes } = bench(async (settlements) => {
      await gate.promise;
      return verdicts(settlements);
    });
    const { signal } = new AbortController();
    const long = outcomes(80).map((open) => ({
      ...open,
      settlement: { ...open.settlement, ...judgeResult('x'.repeat(250_000)) },
    }));
    for (const open of long.slice(0, 60)) settler.add(open);
    expect(await settler.waitForRoom(1, signal)).toBe(true);
    for (const open of long.slice(60)) settler.add(open);
    expect(await settler.waitForRoom(1, signal)).toBe(false);
    await expect.poll(sizes).toEqual([16, 16]);
    const room = settler.waitForRoom(60_000, signal);
    gate.resolve();
    expect(await room).toBe(true);
    expect(await settler.drain(1_000)).toBe(true);
    expect(Math.max(...sizes())).toBe(16);
  });

  test('keeps outcomes during an outage', async () => {
    let calls = 0;
    const { settler, settled } = bench((settlements) => (++calls < 5 ? unavailable() : accept(settlements)));
    for (const open of outcomes(2)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);
    expect(settled.map(({ result }) => result.verdict)).toEqual(['settled', 'settled']);
    expect(calls).toBe(5);
  });

  test('tries outcomes with locked rows again, and closes the others at once', async () => {
    const answers: Settle[] = [
      async (settlements) =>
        verdicts(settlements).map((result, i) => (i === 0 ? result : { ...result, verdict: 'locked' as const })),
      async (settlements) => verdicts(settlements, 'already'),
    ];
    const { settler, sizes, settled } = bench((settlements) => (answers.shift() as Settle)(settlements));
    for (const open of outcomes(3)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);
    expect(sizes()).toEqual([3, 2]);
    expect(settled.map(({ result }) => result.verdict)).toEqual(['settled', 'already', 'already']);
  });

  test('closes an outcome whose first verdict is stale', async () => {
    const { settler, sizes, settled } = bench(async (settlements) => verdicts(settlements, 'stale'));
    for (const open of outcomes(1)) settler.add(open);
    await settler.drain(1_000);
    expect([sizes(), settled.map(({ result }) => result.verdict)]).toEqual([[1], ['stale']]);
    expect([...settler.refused.values()].map(({ why }) => why)).toEqual(['the verdict was stale']);
  });

  test('halves a refused batch until the refused outcome is alone, and fails that one with a clean message', async () => {
    const refuse: Settle = async (settlements) => {
      const bad = settlements.some(({ attempt, outcome }) => attempt === 5 && outcome.verb === 'complete');
      if (bad) throw new RefusedDataError(new Error('NUL \0 in it'));
      return verdicts(settlements);
    };
    const { settler, settled, sizes } = bench(refuse);
    for (const open of outcomes(8)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);

    expect(settled).toHaveLength(8);
    const failed = settled.filter(({ result }) => result.verb === 'fail');
    expect(failed.map(({ open }) => open.settlement)).toMatchObject([
      {
        attempt: 5,
        reason: 'final_error',
        outcome: { error: { code: 'refused_data', message: expect.stringContaining('NUL \u{FFFD}') } },
      },
    ]);
    expect(sizes().length).toBeLessThan(10);
  });

  test('does not delay the others for an outcome that is refused even as a failure', async () => {
    const { settler, settled } = bench(async (settlements) => {
      if (settlements.some(({ attempt }) => attempt === 1)) throw new RefusedDataError(new Error('no'));
      return verdicts(settlements);
    });
    for (const open of outcomes(2)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);
    expect(settled.map(({ open }) => open.settlement.attempt)).toEqual([2]);
    const [first] = outcomes(1) as [OpenOutcome];
    expect([...settler.refused]).toMatchObject([[first.token, { why: 'PostgreSQL refused the data: no' }]]);
    settler.forgetRefused(first.token);
    expect(settler.refused.size).toBe(0);
  });

  test('does not try a failure instead of an outcome whose row exists already', async () => {
    const { settler, settled, sizes } = bench(async (settlements) => {
      if (settlements.some(({ attempt }) => attempt === 1)) throw new RefusedDataError(new Error('it is there'), true);
      return verdicts(settlements);
    });
    for (const open of outcomes(2)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);
    expect(sizes()).toEqual([2, 1, 1]);
    expect(settled.map(({ open }) => open.settlement.attempt)).toEqual([2]);
    expect([...settler.refused.values()]).toMatchObject([{ why: 'PostgreSQL refused the data: it is there' }]);
  });

  test('remembers an outcome that is missing in the answer as refused', async () => {
    const { settler } = bench(async () => []);
    for (const open of outcomes(2)) settler.add(open);
    expect(await settler.drain(1_000)).toBe(true);
    expect(settler.refused.size).toBe(2);
  });

  test('gives up after `giveUpMs`, and accepts nothing afterwards', async () => {
    const { settler, batches } = bench(unavailable, { giveUpMs: 5 });
    const [first, second] = outcomes(2) as [OpenOutcome, OpenOutcome];
    settler.add(first);
    await expect(settler.failed).rejects.toThrow(SettleGivenUpError);
    const before = batches.length;
    settler.add(second);
    await settler.stop();
    expect(batches.length).toBe(before);
  });

  test('stop() fails when outcomes are left', async () => {
    const { settler } = bench(unavailable, { lastMs: 5 });
    settler.add(outcomes(1)[0] as OpenOutcome);
    await expect(settler.stop()).rejects.toMatchObject({ code: 'outcomes_lost', retryable: true });
  });
});
