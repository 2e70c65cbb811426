import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, inject, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { SNAPSHOT_STALE_MS } from '../../config/timings.ts';
import type { Database } from '../../postgres/database.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics, type Metrics } from '../../telemetry/metrics.ts';
import { createSnapshotGauge, type SnapshotGauge } from './snapshot-gauge.ts';

const log = createLogger('silent', {});
let metrics: Metrics;
let gauge: SnapshotGauge;
let monotonicMs: number;

beforeEach(() => {
  metrics = createMetrics();
  monotonicMs = 1_000_000;
});

const watch = (database: Pick<Database, 'run'>): void => {
  gauge = createSnapshotGauge({
    database,
    metrics,
    log,
    clock: { nowMs: () => 0, monotonicMs: () => monotonicMs },
  });
};

async function exported(): Promise<number | undefined> {
  const [, value] = /^scheduler_oldest_snapshot_seconds (\S+)$/m.exec(await metrics.registry.metrics()) ?? [];
  return value === undefined ? undefined : Number(value);
}

async function ageAfter(seconds: number): Promise<number | undefined> {
  monotonicMs += seconds * 1_000;
  await gauge.readAge();
  return exported();
}

describe('the age of the oldest snapshot', () => {
  it.each([
    ['a snapshot', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM unfinished'],
    ['a transaction that wrote and does nothing more', 'BEGIN; SELECT pg_current_xact_id()'],
  ])('grows while a session of another role holds %s', async (_what, hold) => {
    const { databaseUrl, env } = await createTestStores();
    const role = `role_${randomBytes(5).toString('hex')}`;
    const admin = (text: string) => withConnection(inject('adminUrl'), (client) => client.query(text));
    await admin(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    atEndOfFile(async () => void (await admin(`DROP ROLE ${role}`)));
    const own = new URL(databaseUrl);
    [own.username, own.password] = [role, 'x'];
    const { database } = await openParts(env);
    await withConnection(own.href, async (plain) => {
      watch({ run: async ({ text }) => (await plain.query(text)).rows.map(toNumbers) as never[] });
      expect(await ageAfter(0)).toBe(0);
      await withConnection(databaseUrl, async (holder) => {
        await holder.query(hold);
        for (let i = 0; i < 3; i++) await database.run({ name: '', text: 'SELECT pg_current_xact_id()' }, []);
        expect(await ageAfter(100)).toBe(100);
        expect(await ageAfter(3_600)).toBe(3_700);
        await holder.query('ROLLBACK');
      });
      await expect.poll(() => ageAfter(0)).toBe(0);
    });
  });

  it('is that of the oldest of many snapshots, to the minute', async () => {
    let row = { next: 1_000, behind: 0 };
    watch({ run: async () => [row] as never[] });
    expect(await ageAfter(0)).toBe(0);
    for (let minute = 1; minute <= 10; minute++) {
      row = { next: 1_000 + minute * 100, behind: 0 };
      await ageAfter(60);
    }
    // At 1500, five minutes ago.
    row = { next: 2_000, behind: 450 };
    expect(await ageAfter(0)).toBe(300);
    row = { next: 2_000, behind: 1_500 };
    expect(await ageAfter(30)).toBe(630);
  });

  it('begins anew if the transaction ids do', async () => {
    let row = { next: 5_000, behind: 10 };
    watch({ run: async () => [row] as never[] });
    await ageAfter(0);
    row = { next: 100, behind: 10 };
    expect(await ageAfter(60)).toBe(0);
    row = { next: 200, behind: 150 };
    expect(await ageAfter(60)).toBe(60);
  });

  it('is not shown before it is known, or when it has become stale', async () => {
    watch({ run: async () => [{ next: 1_000, behind: 0 }] as never[] });
    expect(await exported()).toBeUndefined();
    expect(await ageAfter(0)).toBe(0);
    monotonicMs += SNAPSHOT_STALE_MS + 1;
    expect(await exported()).toBeUndefined();
  });
});

function toNumbers(row: Record<string, unknown>): Record<string, number> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)]));
}
