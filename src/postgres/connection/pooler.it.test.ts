import { describe, expect, it } from 'vitest';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { startPostgres } from '../../../test/harness/private-stores.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { startTransactionPooler } from '../../../test/harness/transaction-pooler.ts';
import { readConfig } from '../../config/read-config.ts';
import { createSystemReads } from '../../engine/counts/system-reads.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createDatabase } from '../database.ts';
import { createReader } from '../reads/reader.ts';
import { migrate } from '../schema/migrate.ts';

const log = createLogger('silent', {});

describe('behind a pooler in transaction mode', () => {
  it('migrates', async () => {
    const server = await startPostgres();
    expect(await migrate({ DATABASE_URL: await startTransactionPooler(server.url) }, log)).not.toEqual([]);
  });

  it('runs statements with their settings, and prepares none on the connection', async () => {
    const { env } = await createTestStores();
    const url = await startTransactionPooler(env['DATABASE_URL'] as string);
    const config = readConfig({ ...env, DATABASE_URL: url, DATABASE_PREPARED_STATEMENTS: 'false' });
    const outage = createOutage('postgresql', log, createMetrics(), Date.now);
    const database = createDatabase(config, outage, log);
    atEndOfFile(() => database.close());
    const show = { name: 'test-show', text: 'SHOW statement_timeout' };
    const limited = [{ statement_timeout: '10s' }];
    expect(await database.run(show, [])).toEqual(limited);
    expect(await database.transaction((run) => run(show, []))).toEqual(limited);
    expect(await database.run({ name: 'test-jit', text: 'SHOW jit' }, [])).toEqual([{ jit: 'off' }]);
    // No statement was prepared by name: another connection of the pooler would not know it.
    const prepared = { name: 'test-prepared', text: 'SELECT count(*)::int AS count FROM pg_prepared_statements' };
    expect(await database.run(prepared, [])).toEqual([{ count: 0 }]);
  });

  it('runs the reads of the API', async () => {
    const { env } = await createTestStores();
    const url = await startTransactionPooler(env['DATABASE_URL'] as string);
    const config = readConfig({ ...env, DATABASE_URL: url, DATABASE_PREPARED_STATEMENTS: 'false' });
    const reader = createReader(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => reader.close());
    expect(await createSystemReads(reader).queue('default')).toMatchObject({ name: 'default' });
  });
});
