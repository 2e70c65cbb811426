import { expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createLogger } from '../telemetry/logger.ts';
import { migrate } from './migrate.ts';

const log = createLogger('silent', {});

it('waits for the lock of a table, and outlives the connection that keeps other migrations away', async () => {
  const { databaseUrl } = await createTestStores();
  await withConnection(databaseUrl, async (other) => {
    await other.query('BEGIN; LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE');
    const migrating = migrate({ DATABASE_URL: databaseUrl }, log);
    const found = async (what: string): Promise<boolean> => {
      const { rowCount } = await other.query(`
        SELECT ${what} FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND (l.locktype = 'advisory' OR NOT l.granted)`);
      return rowCount === 2;
    };
    await untilTrue(() => found('l.pid'));
    await found(`CASE WHEN l.locktype = 'advisory' THEN pg_terminate_backend(l.pid, 5000) END`);
    await other.query('ROLLBACK');
    expect(await migrating).toEqual([]);
  });
});

it('has nothing to do where the schema is up to date', async () => {
  const { databaseUrl } = await createTestStores();
  expect(await migrate({ DATABASE_URL: databaseUrl }, log)).toEqual([]);
});
