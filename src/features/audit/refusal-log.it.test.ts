import { Writable } from 'node:stream';
import { pino } from 'pino';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { Refusal } from '../../http/access/refusals.ts';
import type { Run } from '../../postgres/database.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createRefusalLog, type RefusalLogOptions } from './refusal-log.ts';

let parts: TestParts;
beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
});
beforeEach(async () => {
  await sql('DELETE FROM audit');
});

const sql = <Row extends object>(text: string): Promise<Row[]> => parts.database.run<Row>({ name: '', text }, []);
const rows = (): Promise<Record<string, unknown>[]> => sql('SELECT * FROM audit ORDER BY client, action, at, code');

const REFUSAL: Refusal = {
  client: 'viewer',
  action: 'queue.pause',
  code: 'missing_scope',
  object: 'queue:mail',
  address: '10.0.0.1',
  traceId: 'first',
};

function openLog(options: Partial<RefusalLogOptions> = {}) {
  const lines: Record<string, unknown>[] = [];
  const log = pino({}, new Writable({ write: (chunk, _, done) => (lines.push(JSON.parse(String(chunk))), done()) }));
  const metrics = createMetrics();
  const dropped = async () => (await metrics.refusalsDropped.get()).values[0]?.value;
  return { lines, dropped, ...createRefusalLog({ database: parts.database, metrics, log, ...options }) };
}

/** Returns a clock with which all that is noted was refused in the middle of the last minute. */
async function middleOfLastMinute() {
  const [now] = await sql<{ ms: number }>('SELECT extract(second FROM clock_timestamp())::float8 * 1000 AS ms');
  let nowMs = 0;
  return {
    monotonicMs: () => nowMs,
    async writes(...logs: readonly { write(): Promise<void> }[]): Promise<void> {
      nowMs = (now?.ms ?? 0) + 30_000;
      await Promise.all(logs.map((log) => log.write()));
      nowMs = 0;
    },
  };
}

describe('equal refusals of one minute', () => {
  it('are one row that counts them, also those of another process', async () => {
    const clock = await middleOfLastMinute();
    const [one, other] = [openLog({ clock }), openLog({ clock })];
    for (let i = 0; i < 500; i++) one.note({ ...REFUSAL, traceId: `${i}` });
    await clock.writes(one);
    one.note({ ...REFUSAL, object: 'queue:another' });
    other.note({ ...REFUSAL, address: '10.0.0.2' });
    await clock.writes(one, other);
    expect(await rows()).toEqual([
      {
        id: expect.any(String),
        at: expect.any(Date),
        client: 'viewer',
        action: 'queue.pause',
        outcome: 'refused',
        code: 'missing_scope',
        objects: ['queue:mail'],
        details: null,
        count: 502,
        address: '10.0.0.1',
        trace_id: '0',
      },
    ]);
  });

  it('differ by client, action and code', async () => {
    const clock = await middleOfLastMinute();
    const log = openLog({ clock });
    const noted: Refusal[] = [
      REFUSAL,
      { ...REFUSAL, client: 'other' },
      { ...REFUSAL, action: 'task.cancel', object: null },
      { ...REFUSAL, code: 'unauthenticated' },
    ];
    for (const refusal of [...noted, REFUSAL]) log.note(refusal);
    await clock.writes(log);
    expect(await rows()).toMatchObject([
      { client: 'other', count: 1 },
      { client: 'viewer', action: 'queue.pause', code: 'missing_scope', count: 2 },
      { client: 'viewer', action: 'queue.pause', code: 'unauthenticated', count: 1 },
      { client: 'viewer', action: 'task.cancel', objects: [], count: 1 },
    ]);
  });
});

it('refusals of another minute are another row, with the time of the first', async () => {
  let nowMs = 0;
  const log = openLog({ clock: { monotonicMs: () => nowMs } });
  log.note(REFUSAL);
  nowMs += 600_000;
  await log.write();
  log.note(REFUSAL);
  await log.write();
  const [older, younger] = (await rows()) as { at: Date }[];
  expect(Number(younger?.at) - Number(older?.at)).toBeGreaterThan(590_000);
});

it('keeps what it noted while PostgreSQL does not answer, within its bound, and says what it left out', async () => {
  let isAway = true;
  const run: Run = async (statement, values) => {
    if (isAway) throw new StoreUnavailableError('postgresql', new Error('gone'));
    return parts.database.run(statement, values);
  };
  const clock = await middleOfLastMinute();
  const log = openLog({ database: { run }, groupsMax: 3, clock });
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 5; i++) log.note({ ...REFUSAL, client: `client-${i}` });
    await clock.writes(log);
  }
  isAway = false;
  await clock.writes(log);
  expect(await rows()).toMatchObject([0, 1, 2].map((i) => ({ client: `client-${i}`, count: 4 })));
  expect(log.lines.map(({ refusals }) => refusals)).toEqual([2, 2, 2, 2]);
  expect(await log.dropped()).toBe(8);
});

it('writes what is left when the process stops', async () => {
  const log = openLog();
  await log.start();
  log.note(REFUSAL);
  await log.stop();
  expect(await rows()).toMatchObject([{ count: 1 }]);
  await log.stop();
});

it('leaves out a text that PostgreSQL refuses, and nothing beside it', async () => {
  const log = openLog();
  for (const client of ['a', 'b', 'with \0', 'with \0', 'c', 'd']) log.note({ ...REFUSAL, client });
  await log.write();
  expect(await rows()).toMatchObject(['a', 'b', 'c', 'd'].map((client) => ({ client, count: 1 })));
  expect(await log.dropped()).toBe(2);
  expect(log.lines).toMatchObject([{ refusals: 2 }]);
  log.note(REFUSAL);
  await log.write();
  expect(await rows()).toHaveLength(5);
});

it('keeps what it noted while the table cannot be written, with all that is noted meanwhile', async () => {
  const log = openLog();
  await sql('ALTER TABLE audit RENAME TO audit_elsewhere');
  try {
    log.note(REFUSAL);
    await expect(log.write()).rejects.toThrow('audit');
    log.note(REFUSAL);
    await expect(log.write()).rejects.toThrow('audit');
  } finally {
    await sql('ALTER TABLE audit_elsewhere RENAME TO audit');
  }
  await log.write();
  expect((await rows()).map(({ count }) => count)).toEqual([2]);
  expect(await log.dropped()).toBe(0);
});

it('logs an error that lasts once, and what the process takes along when it ends', async () => {
  const run: Run = async () => {
    throw new TypeError('a fault');
  };
  const log = openLog({ database: { run } });
  log.note(REFUSAL);
  await log.start();
  await log.stop();
  expect(log.lines).toMatchObject([
    { level: 50, err: { message: 'a fault' } },
    { level: 40, refusals: 1 },
  ]);
});
