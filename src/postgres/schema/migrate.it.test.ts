import { expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { startPgBouncer } from '../../../test/harness/pgbouncer.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores, emptyDatabase } from '../../../test/harness/stores.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { migrate } from './migrate.ts';
import { MIGRATIONS } from './migrations/index.ts';

const log = createLogger('silent', {});
const ALL = MIGRATIONS.map(({ name }) => name);

const WAITING = `
  SELECT pid FROM pg_locks JOIN pg_database ON oid = database
  WHERE datname = current_database() AND NOT granted`;

it('waits for another migration, and runs when that one has ended', async () => {
  const { databaseUrl } = await createTestStores();
  await withConnection(databaseUrl, async (other) => {
    await other.query('BEGIN; LOCK TABLE migrations IN SHARE ROW EXCLUSIVE MODE');
    const migrating = migrate({ DATABASE_URL: databaseUrl }, log);
    await untilTrue(async () => (await other.query(WAITING)).rowCount === 1);
    await other.query('ROLLBACK');
    expect(await migrating).toEqual([]);
  });
});

it('rolls back and retries while it cannot get a lock', async () => {
  const DATABASE_URL = await emptyDatabase();
  await withConnection(DATABASE_URL, async (other) => {
    await other.query('BEGIN; CREATE TABLE public.dlq ()');
    const refused = Promise.withResolvers<void>();
    const migrating = migrate({ DATABASE_URL }, { ...log, warn: () => refused.resolve() });
    await refused.promise;
    await other.query('ROLLBACK');
    expect(await migrating).not.toEqual([]);
  });
});

it('runs each migration once if several processes start together', async () => {
  const DATABASE_URL = await emptyDatabase();
  const done = await Promise.all([1, 2, 3, 4].map(() => migrate({ DATABASE_URL }, log)));
  expect(done.flat()).toEqual(ALL);
});

it('needs only one connection', async () => {
  const upstream = await emptyDatabase();
  await withConnection(upstream, (client) =>
    client.query(`ALTER DATABASE ${new URL(upstream).pathname.slice(1)} CONNECTION LIMIT 1`),
  );
  const { url } = await startPgBouncer(upstream, { default_pool_size: '1', query_wait_timeout: '5' });
  expect(await migrate({ DATABASE_URL: url }, log)).not.toEqual([]);
  expect(await migrate({ DATABASE_URL: url }, log)).toEqual([]);
});

it('does nothing if the schema is up to date', async () => {
  const { databaseUrl } = await createTestStores();
  expect(await migrate({ DATABASE_URL: databaseUrl }, log)).toEqual([]);
});
