import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { RefusedDataError } from '../../core/errors.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { Holding } from './attempt-store.ts';
import { Attempt } from './attempt.ts';
import { createHoldings } from './holdings.ts';
import { releaseOf, type OpenOutcome } from './open-outcome.ts';
import type { RefusedOutcome } from './settle-batch.ts';
import { createSlots } from './slots.ts';

function row(attempt: number, cancelRequested = false): Holding {
  const { id, queue, priority, placeMs, traceId } = fakeTask;
  return { id, attempt, cancelRequested, queue, priority, placeMs, traceId };
}

const silent = pino({ level: 'silent' });

function running(attempt: number): Attempt {
  return new Attempt({
    task: { ...fakeTask, attempt },
    action: 'a',
    handler: () => 1,
    waitedMs: 0,
    startedAtMs: 0,
    log: silent,
  });
}

function bench(
  options: {
    whileAsked?: () => void;
    refuseProgress?: boolean;
    refuseReclaim?: boolean;
    whileWritten?: () => void;
  } = {},
) {
  const slots = createSlots(10);
  const rows: Holding[] = [];
  const added: OpenOutcome[] = [];
  const settling = new Set<string>();
  const starting = new Set<string>();
  const progress: string[] = [];
  const refused = new Map<string, RefusedOutcome>();
  const reclaimed: string[] = [];
  const returned: unknown[] = [];
  const lines: object[] = [];
  const metrics = createMetrics();
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(JSON.parse(line) as object) });
  const holdings = createHoldings({
    workerId: 'w',
    store: {
      async holdings() {
        const answer = [...rows];
        options.whileAsked?.();
        return answer;
      },
      async reclaimOwn(_, { attempt }, lostCap, error) {
        if (options.refuseReclaim === true) throw new RefusedDataError(new Error('no'));
        reclaimed.push(`${attempt}: ${error.message}`);
        return { verb: attempt < lostCap ? 'reclaim' : 'fail', lost: attempt };
      },
      async recordProgress(_, entries) {
        options.whileWritten?.();
        if (options.refuseProgress === true) throw new RefusedDataError(new Error('no'));
        progress.push(...entries.map((entry) => `${entry.attempt}:${entry.progress}`));
      },
    },
    slots,
    queue: { release: async (_queue, _worker, members) => void returned.push(...members) },
    settler: {
      add: (open) => added.push(open),
      has: (token) => settling.has(token),
      refused,
      forgetRefused: (token) => void refused.delete(token),
    },
    lostCap: 3,
    metrics,
    isStarting: (id) => starting.has(id),
    intervalMs: 1_000,
    log,
  });
  const refuse = (attempt: number): void => {
    const open = releaseOf({ ...fakeTask, attempt });
    refused.set(open.token, { open, why: 'the verdict was stale' });
  };
  return {
    holdings,
    slots,
    rows,
    added,
    settling,
    starting,
    progress,
    lines,
    refused,
    refuse,
    reclaimed,
    returned,
    metrics,
  };
}

describe('the holdings', () => {
  test('hand back a row that is not running when they see it for the second time', async () => {
    const { holdings, rows, added } = bench();
    rows.push(row(1));
    expect(await holdings.runOnce()).toMatchObject({ released: 0 });
    expect(await holdings.runOnce()).toMatchObject({ released: 1 });
    expect(added).toMatchObject([
      {
        settlement: { attempt: 1, outcome: { verb: 'release' } },
        task: { id: fakeTask.id, traceId: fakeTask.traceId },
      },
    ]);
  });

  test('log one line for all rows that they hand back', async () => {
    const { holdings, rows, lines } = bench();
    rows.push(...[1, 2, 3].map((attempt) => row(attempt)));
    await holdings.runOnce();
    expect(lines).toEqual([]);
    await holdings.runOnce();
    expect(lines).toMatchObject([{ tasks: 3, firstTaskId: fakeTask.id }]);
  });

  test('start counting again for another attempt of the same task', async () => {
    const { holdings, rows, added } = bench();
    rows.push(row(1));
    await holdings.runOnce();
    rows.splice(0, 1, row(2));
    await holdings.runOnce();
    expect(added).toEqual([]);
  });

  test('do not hand back attempts that run, are being settled or are being started', async () => {
    const { holdings, slots, rows, added, settling, starting } = bench();
    rows.push(row(1), row(2), { ...row(3), id: 'starts' });
    slots.add(running(1));
    settling.add(`${fakeTask.id}:2`);
    starting.add('starts');
    for (let i = 0; i < 3; i++) await holdings.runOnce();
    expect(added).toEqual([]);
  });

  test('count an attempt as lost if it ran here and its outcome was refused', async () => {
    const { holdings, rows, added, refused, refuse, reclaimed, returned, metrics, lines } = bench();
    rows.push(row(1), row(3));
    refuse(1);
    refuse(3);
    expect(await holdings.runOnce()).toMatchObject({ reclaimed: 0 });
    expect(await holdings.runOnce()).toMatchObject({ released: 0, reclaimed: 2 });
    expect([added, refused.size]).toEqual([[], 0]);
    const message = 'PostgreSQL refused the outcome of this attempt: the verdict was stale';
    expect(reclaimed).toEqual([`1: ${message}`, `3: ${message}`]);
    expect(returned).toMatchObject([{ waitMs: 0 }, { waitMs: null }]);
    expect((await metrics.outcomesRefused.get()).values).toMatchObject([{ value: 2 }]);
    expect(lines).toMatchObject([
      { task_id: fakeTask.id, verb: 'reclaim', lost: 1 },
      { task_id: fakeTask.id, verb: 'fail', msg: expect.stringContaining('dead letters') },
    ]);
  });

  test('count it as lost even if its handler overran its limit and still runs', async () => {
    const { holdings, slots, rows, refuse, reclaimed } = bench();
    const overrun = running(1);
    overrun.settled = true;
    slots.add(overrun);
    rows.push(row(1));
    refuse(1);
    for (let i = 0; i < 2; i++) await holdings.runOnce();
    expect(reclaimed).toHaveLength(1);
  });

  test('forget refused outcomes of attempts that the worker no longer holds', async () => {
    const { holdings, refused, refuse, reclaimed } = bench();
    refuse(1);
    await holdings.runOnce();
    expect([refused.size, reclaimed]).toEqual([0, []]);
  });

  test('keep an attempt that cannot be handed back, and log it', async () => {
    const { holdings, rows, added, refuse, refused, lines } = bench({ refuseReclaim: true });
    rows.push(row(1));
    refuse(1);
    for (let i = 0; i < 3; i++) await holdings.runOnce();
    expect([added, refused.size]).toEqual([[], 1]);
    const msg = 'a task whose outcome was refused cannot be handed back';
    expect(lines).toMatchObject([{ msg }, { msg }]);
  });

  test('abort a handler whose row no longer names the worker', async () => {
    const { holdings, slots, rows } = bench();
    const [mine, lost] = [running(1), running(2)];
    slots.add(mine);
    slots.add(lost);
    rows.push(row(1));
    expect(await holdings.runOnce()).toMatchObject({ lost: 1 });
    expect([mine.abortCode, lost.abortCode]).toEqual([null, 'ownership_lost']);
    expect(await holdings.runOnce()).toMatchObject({ lost: 0 });
  });

  test('do not treat an attempt as lost if it started or settled during the query', async () => {
    const [started, settled, before] = [running(1), running(2), running(3)];
    const { holdings, slots } = bench({
      whileAsked() {
        slots.add(started);
        settled.settled = true;
      },
    });
    before.settled = true;
    slots.add(settled);
    slots.add(before);
    expect(await holdings.runOnce()).toMatchObject({ lost: 0 });
    expect([started.abortCode, settled.abortCode, before.abortCode]).toEqual([null, null, null]);
  });

  test('pass cancel requests on to handlers', async () => {
    const { holdings, slots, rows } = bench();
    const attempt = running(1);
    slots.add(attempt);
    rows.push(row(1, true));
    expect(await holdings.runOnce()).toMatchObject({ cancelled: 1 });
    expect(attempt.abortCode).toBe('cancelled');
  });

  test('write progress once, and go on after it was refused', async () => {
    for (const refuseProgress of [false, true]) {
      const { holdings, slots, rows, progress } = bench({ refuseProgress });
      const attempt = running(1);
      slots.add(attempt);
      rows.push(row(1));
      attempt.progress = '5';
      expect(await holdings.runOnce()).toMatchObject({ progressed: refuseProgress ? 0 : 1 });
      expect(await holdings.runOnce()).toMatchObject({ progressed: 0 });
      expect(progress).toEqual(refuseProgress ? [] : ['1:5']);
    }
  });

  test('keep progress with its attempt until it is known to be written, because the outcome may come first', async () => {
    const attempt = running(1);
    attempt.progress = '50';
    const { holdings, slots, rows } = bench({
      whileWritten() {
        expect(attempt.progress).toBe('50');
        attempt.progress = '100';
      },
    });
    slots.add(attempt);
    rows.push(row(1));
    await holdings.runOnce();
    expect(attempt.progress).toBe('100');
  });
});
