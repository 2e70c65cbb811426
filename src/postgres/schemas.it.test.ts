import { randomBytes } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { startPgBouncer } from '../../test/harness/pgbouncer.ts';
import { createTestStores, emptyDatabase } from '../../test/harness/stores.ts';
import { createSweepStore } from '../../test/harness/sweeping.ts';
import { startSystem } from '../../test/harness/system.ts';
import { createDay, PARTITIONED } from '../../test/harness/task-rows.ts';
import type { Config } from '../config/env.ts';
import { readConfig } from '../config/read-config.ts';
import { FIRST_ID } from '../core/ids.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createDatabase } from './database.ts';
import { migrate } from './schema/migrate.ts';
import { MIGRATIONS } from './schema/migrations/index.ts';

const log = createLogger('silent', {});
const ALL = MIGRATIONS.map(({ name }) => name);

const rows = (url: string, text: string): Promise<Record<string, unknown>[]> =>
  withConnection(url, async (client) => (await client.query<Record<string, unknown>>(text)).rows);

const nameOf = (url: string): string => new URL(url).pathname.slice(1);

const configOf = (env: Record<string, string>): Config => readConfig({ REDIS_URL: inject('redisUrl'), ...env });

/** Ways to name the schema. Each returns the environment for a database that has the schema `mine`. */
const WAYS: [string, (url: string) => Promise<Record<string, string>>][] = [
  ['DATABASE_SCHEMA', async (url) => ({ DATABASE_URL: url, DATABASE_SCHEMA: 'mine' })],
  [
    'DATABASE_SCHEMA behind PgBouncer',
    async (url) => ({
      DATABASE_URL: (await startPgBouncer(url)).url,
      DATABASE_SCHEMA: 'mine',
      DATABASE_PREPARED_STATEMENTS: 'false',
    }),
  ],
  ['the URL', async (url) => ({ DATABASE_URL: `${url}?options=-c%20search_path%3Dmine` })],
  [
    'the database',
    async (url) => {
      await rows(url, `ALTER DATABASE ${nameOf(url)} SET search_path = mine`);
      return { DATABASE_URL: url };
    },
  ],
  [
    'the role',
    async (url) => {
      const role = `role_${randomBytes(5).toString('hex')}`;
      await rows(url, `CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD 'x'`);
      atEndOfFile(async () => void (await rows(inject('adminUrl'), `DROP ROLE ${role}`)));
      await rows(url, `ALTER ROLE ${role} SET search_path = mine`);
      const own = new URL(url);
      [own.username, own.password] = [role, 'x'];
      atEndOfFile(async () => void (await rows(url, `REASSIGN OWNED BY ${role} TO CURRENT_USER`)));
      return { DATABASE_URL: own.href };
    },
  ],
];

describe.each(WAYS)('a schema named by %s', (_way, environment) => {
  it('holds all tables, can be migrated twice, and runs tasks', async () => {
    const url = await emptyDatabase();
    await rows(url, 'CREATE SCHEMA mine');
    const env = await environment(url);
    expect(await migrate(configOf(env), log)).toEqual(ALL);
    expect(await migrate(configOf(env), log)).toEqual([]);
    const schemas = await rows(
      url,
      `SELECT DISTINCT relnamespace::regnamespace::text AS name FROM pg_class WHERE relname ~ '^(tasks|execution_logs|submissions|metadata_pairs|unfinished|finished|attempts|dlq|migrations)'`,
    );
    expect(schemas).toEqual([{ name: 'mine' }]);

    const stores = await createTestStores({ databaseUrl: env['DATABASE_URL'] as string });
    const system = await startSystem(stores, env);
    await system.startWorker();
    await system.submit({ payload: {}, execution_time: 0, queue: 'default' });
    await expect
      .poll(() => rows(url, `SELECT status FROM mine.tasks`), { timeout: 30_000 })
      .toEqual([{ status: 'COMPLETED' }]);
    expect(await system.get('/tasks')).toMatchObject({ items: [{ status: 'COMPLETED' }] });
  }, 120_000);
});

it('a missing schema is created if DATABASE_SCHEMA names it, and is an error if the connection names it', async () => {
  const url = await emptyDatabase();
  await expect(migrate(configOf({ DATABASE_URL: `${url}?options=-c%20search_path%3Dmine` }), log)).rejects.toThrow(
    /search_path.*mine.*DATABASE_SCHEMA/,
  );
  expect(await migrate(configOf({ DATABASE_URL: url, DATABASE_SCHEMA: 'mine' }), log)).not.toEqual([]);
});

it('two installations in one database each have their own tables, partitions and functions', async () => {
  const url = await emptyDatabase();
  // The search path of the database names two of the schemas, as after a move.
  await rows(url, `ALTER DATABASE ${nameOf(url)} SET search_path = one, public`);
  const [one, two] = ['one', 'two'].map((schema) => configOf({ DATABASE_URL: url, DATABASE_SCHEMA: schema })) as [
    Config,
    Config,
  ];
  for (const config of [one, two]) expect(await migrate(config, log)).toEqual(ALL);
  const inPublic = configOf({ DATABASE_URL: url, DATABASE_SCHEMA: 'public' });
  expect(await migrate(inPublic, log)).toEqual(ALL);

  const days = (schema: string) =>
    rows(
      url,
      `SELECT relname FROM pg_class WHERE relnamespace = '${schema}'::regnamespace AND relkind = 'r' AND relname ~ '^(submissions|metadata_pairs|finished|attempts)_2'`,
    );
  for (const schema of ['one', 'two', 'public']) expect(await days(schema)).toHaveLength(PARTITIONED.length * 8);

  for (const schema of ['one', 'two']) {
    for (const statement of createDay('20200101', PARTITIONED, schema)) await rows(url, statement);
  }
  const database = createDatabase(two, createOutage('postgresql', log, createMetrics(), Date.now), log);
  atEndOfFile(() => database.close());
  const store = createSweepStore(database);
  const grant = await store.takeLease('me', { leaseMs: 60_000, overlapMs: 0, lagMs: 0 });
  if (grant === null) throw new Error('the lease was free');
  const retention = { retentionMs: 0, failedRetentionMs: 0 };
  expect((await store.days(retention)).filter(({ past }) => past)).toMatchObject([{ day: '2020-01-01' }]);
  await store.surveyDay(grant, '2020-01-01', FIRST_ID, retention, 10, 10);
  expect(await store.dropDay(grant, '2020-01-01', 10)).toBe(0);
  expect([(await days('one')).length, (await days('two')).length]).toEqual([
    9 * PARTITIONED.length,
    8 * PARTITIONED.length,
  ]);
});
