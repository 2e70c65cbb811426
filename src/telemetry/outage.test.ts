import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import { OUTAGE_QUIET_MS } from '../config/timings.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOutage, type Outage } from './outage.ts';

let nowMs: number;
let lines: Record<string, unknown>[];
let metrics: Metrics;
let outage: Outage;

beforeEach(() => {
  nowMs = 1_000_000;
  lines = [];
  metrics = createMetrics();
  const log = pino({ level: 'debug', base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  outage = createOutage('redis', log, metrics, () => nowMs);
});

const isUp = async (): Promise<unknown> => (await metrics.storeUp.get()).values[0]?.value;
const failAfter = (ms: number): void => {
  nowMs += ms;
  outage.failed(new Error('gone'));
};
const answerAfter = (ms: number): void => {
  nowMs += ms;
  outage.answered();
};

describe('an outage', () => {
  it('logs one line at the beginning and one at the end, with its length and the number of failed calls', () => {
    answerAfter(0);
    failAfter(10);
    failAfter(500);
    failAfter(500);
    answerAfter(200);
    expect(lines).toMatchObject([
      { level: 40, msg: 'store does not answer', store: 'redis', err: { message: 'gone' } },
    ]);
    answerAfter(OUTAGE_QUIET_MS);
    answerAfter(1);
    expect(lines).toHaveLength(2);
    // From the first failure to the first answer after the last failure.
    expect(lines[1]).toMatchObject({
      level: 30,
      msg: 'store answers again',
      store: 'redis',
      outageMs: 1_200,
      failures: 3,
    });
  });

  it('is a single one while the store comes and goes: one answer in six is lost for a minute', () => {
    for (let i = 0; i < 600; i++) (i % 6 === 0 ? failAfter : answerAfter)(100);
    expect(lines).toHaveLength(1);
    answerAfter(OUTAGE_QUIET_MS);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatchObject({ failures: 100 });
  });

  it('ends with an answer, not with silence', () => {
    failAfter(0);
    failAfter(60_000);
    expect(lines).toHaveLength(1);
    answerAfter(60_000);
    expect(lines).toHaveLength(1);
    answerAfter(OUTAGE_QUIET_MS);
    expect(lines[1]).toMatchObject({ outageMs: 120_000 });
  });

  it('is a new one after the last one has ended', () => {
    for (let i = 0; i < 2; i++) {
      failAfter(1);
      answerAfter(1);
      answerAfter(OUTAGE_QUIET_MS);
    }
    expect(lines.map(({ msg }) => msg)).toEqual([
      'store does not answer',
      'store answers again',
      'store does not answer',
      'store answers again',
    ]);
  });

  it('changes the metric and `ongoing` with every call', async () => {
    failAfter(0);
    expect([await isUp(), outage.ongoing]).toEqual([0, true]);
    answerAfter(1);
    expect([await isUp(), outage.ongoing]).toEqual([1, false]);
    failAfter(1);
    expect([await isUp(), outage.ongoing]).toEqual([0, true]);
  });
});
