import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { startPgBouncer } from '../../../test/harness/pgbouncer.ts';
import { createTestStores, emptyDatabase, type TestStores } from '../../../test/harness/stores.ts';
import { startSystem, SHORT_HEARTBEATS, type TestSystem } from '../../../test/harness/system.ts';
import type { Config } from '../../config/env.ts';
import { readConfig } from '../../config/read-config.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createDatabase, type Database } from '../database.ts';
import { createReader } from '../reads/reader.ts';
import { migrate } from '../schema/migrate.ts';
import { sessionSettings } from './session.ts';

/** Defaults of a database that would each break or change something if they applied to our statements. */
const FOREIGN_DEFAULTS: Readonly<Record<string, string>> = {
  DateStyle: 'SQL, DMY',
  IntervalStyle: 'sql_standard',
  TimeZone: 'Pacific/Chatham',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  standard_conforming_strings: 'off',
  array_nulls: 'off',
  client_encoding: 'LATIN1',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  row_security: 'off',
  session_replication_role: 'replica',
  quote_all_identifiers: 'on',
  lock_timeout: '1ms',
  statement_timeout: '500ms',
  idle_in_transaction_session_timeout: '500ms',
  idle_session_timeout: '2s',
  plan_cache_mode: 'force_generic_plan',
  jit: 'on',
  enable_indexscan: 'off',
  enable_indexonlyscan: 'off',
  enable_bitmapscan: 'off',
  enable_nestloop: 'off',
  enable_partition_pruning: 'off',
  enable_sort: 'off',
  from_collapse_limit: '1',
  join_collapse_limit: '1',
};

const log = createLogger('silent', {});
let stores: TestStores;

async function setDefaults(url: string, defaults: Readonly<Record<string, string>>): Promise<void> {
  const database = new URL(url).pathname.slice(1);
  await withConnection(url, async (client) => {
    for (const [name, value] of Object.entries(defaults)) {
      await client.query(`ALTER DATABASE ${database} SET ${name} = '${value}'`);
    }
  });
}

beforeAll(async () => {
  stores = await createTestStores();
  await setDefaults(stores.databaseUrl, FOREIGN_DEFAULTS);
});

async function pooled(): Promise<Record<string, string>> {
  const { url } = await startPgBouncer(stores.databaseUrl);
  return { DATABASE_URL: url, DATABASE_PREPARED_STATEMENTS: 'false' };
}

describe.each([
  ['without a pooler', async () => ({})],
  ['behind PgBouncer', pooled],
])('defaults of the database do not apply, %s', (_where, environment) => {
  let config: Config;
  let env: Record<string, string>;
  let system: TestSystem;

  beforeAll(async () => {
    env = await environment();
    config = readConfig({ ...stores.env, ...env });
    system = await startSystem(stores, { ...env, ...SHORT_HEARTBEATS });
    await system.startWorker();
    await system.startReclaimer();
  });

  const openDatabase = (): Database => {
    const database = createDatabase(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => database.close());
    return database;
  };

  it('to statements and reads, which have the settings that they depend on', async () => {
    const wanted = sessionSettings('');
    const text = `SELECT ${Object.keys(wanted)
      .map((name) => `current_setting('${name}') AS "${name}"`)
      .join(', ')}, current_setting('transaction_isolation') AS isolation`;
    const limits = {
      statement_timeout: '10s',
      idle_in_transaction_session_timeout: '5s',
      tcp_user_timeout: '5000',
      isolation: 'read committed',
    };
    const database = openDatabase();
    expect(await database.run({ name: 'test-settings', text }, [])).toEqual([{ ...wanted, ...limits }]);
    expect(await database.transaction((run) => run({ name: 'test-settings', text }, []))).toEqual([
      { ...wanted, ...limits },
    ]);
    const reader = createReader(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => reader.close());
    const [formats] = await reader.read('test-formats', (db) =>
      db
        .selectFrom('queues')
        .select(({ fn, val }) => [
          fn<string>('current_setting', [val('DateStyle')]).as('dateStyle'),
          fn<string>('current_setting', [val('statement_timeout')]).as('timeout'),
          fn<string>('current_setting', [val('transaction_isolation')]).as('isolation'),
        ])
        .execute(),
    );
    expect(formats).toEqual({ dateStyle: 'ISO, MDY', timeout: '10s', isolation: 'read committed' });
  });

  it('to migrations', async () => {
    const url = new URL(await emptyDatabase());
    await setDefaults(url.href, { ...FOREIGN_DEFAULTS, statement_timeout: '50ms' });
    url.port = new URL(config.DATABASE_URL).port;
    expect(await migrate({ ...config, DATABASE_URL: url.href }, log)).not.toEqual([]);
    expect(await migrate({ ...config, DATABASE_URL: url.href }, log)).toEqual([]);
  });

  it('to tasks, which keep their text, numbers and times, and run', async () => {
    const task = { payload: { text: 'ä€😀\\n', number: 0.1234567890123456 }, execution_time: 0.012345678901234567 };
    const at = new Date(Date.now() + 1_234).toISOString();
    const key = { 'idempotency-key': `key-${env['DATABASE_URL'] ?? ''}` };
    const first = await system.post('/tasks', { ...task, run_at: at }, key);
    const { id } = (await first.json()) as { id: string };
    const again = (await (await system.post('/tasks', { ...task, run_at: at }, key)).json()) as { id: string };
    expect(again.id).toBe(id);
    await system.submitBatch([task, { ...task, metadata: { a: 'ö' } }]);
    expect(await system.untilAllEnded(30_000)).toMatchObject({ COMPLETED: expect.any(Number) });
    const [read] = (await system.get(`/tasks?limit=10`))['items'] as Record<string, unknown>[];
    expect(Date.parse(read?.['finished_at'] as string)).toBeGreaterThan(Date.now() - 60_000);
    const whole = await system.get(`/tasks/${id}`);
    expect(whole).toMatchObject({ ...task, status: 'COMPLETED', attempt: 1 });
    expect(Date.parse(whole['started_at'] as string)).toBeGreaterThanOrEqual(Date.parse(at));
  });

  it('to dead letters, which are found by the time of their failure', async () => {
    const since = new Date(Date.now() - 1_000).toISOString();
    await system.submit({ payload: { simulate: { fail: 'final' } }, execution_time: 0 });
    await system.untilAllEnded(30_000);
    const { items: found } = await system.get(`/dlq?failed_after=${encodeURIComponent(since)}`);
    expect(found).toHaveLength(1);
  });
});

it('a read-only database counts as unavailable', async () => {
  const { databaseUrl, env } = await createTestStores();
  await setDefaults(databaseUrl, { default_transaction_read_only: 'on' });
  for (const prepared of ['true', 'false']) {
    const config = readConfig({ ...env, DATABASE_PREPARED_STATEMENTS: prepared });
    const database = createDatabase(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => database.close());
    const write = { name: 'test-write', text: `UPDATE queues SET version = version + 1` };
    await expect(database.run(write, [])).rejects.toBeInstanceOf(StoreUnavailableError);
  }
});
