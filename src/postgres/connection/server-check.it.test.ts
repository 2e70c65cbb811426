import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { startPgBouncer } from '../../../test/harness/pgbouncer.ts';
import { startPostgres, type PrivateServer } from '../../../test/harness/private-stores.ts';
import type { Config } from '../../config/env.ts';
import { readConfig } from '../../config/read-config.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createDatabase } from '../database.ts';
import { migrate } from '../schema/migrate.ts';
import { checkServer } from './server-check.ts';

const log = createLogger('silent', {});
let server: PrivateServer;

beforeAll(async () => {
  server = await startPostgres({ settings: { fsync: 'off', synchronous_commit: 'off' } });
});

const configOf = (url: string, env: Record<string, string> = {}): Config =>
  readConfig({
    REDIS_URL: 'redis://127.0.0.1:1/0',
    DATABASE_URL: url,
    DATABASE_ALLOW_UNSAFE_DURABILITY: 'true',
    ...env,
  });

async function check(config: Config): Promise<void> {
  const database = createDatabase(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
  atEndOfFile(() => database.close());
  await checkServer(database, config);
}

it('refuses a server that may lose committed data, unless this is allowed', async () => {
  const config = configOf(server.url, { DATABASE_ALLOW_UNSAFE_DURABILITY: 'false' });
  await expect(check(config)).rejects.toMatchObject({ code: 'unsafe_database' });
  await expect(check(config)).rejects.toThrow('fsync=off and synchronous_commit=off');
  await check(configOf(server.url));
});

describe.each(['LATIN1', 'SQL_ASCII', 'EUC_JP'])('a database with the encoding %s', (encoding) => {
  let config: Config;

  beforeAll(async () => {
    const name = `with_${encoding.toLowerCase()}`;
    await withConnection(server.url, (client) =>
      client.query(`CREATE DATABASE ${name} ENCODING '${encoding}' LOCALE 'C' TEMPLATE template0`),
    );
    const url = new URL(server.url);
    url.pathname = `/${name}`;
    config = configOf(url.href);
  });

  const refusal = { code: 'unsupported_database', message: expect.stringContaining(`given ${encoding}`) };

  it('is refused at the start of a process', () => expect(check(config)).rejects.toMatchObject(refusal));

  it('is refused by migrate', () => expect(migrate(config, log)).rejects.toMatchObject(refusal));
});

describe('a pooler', () => {
  it('that refuses session settings is reported, with the setting that helps', async () => {
    const { url } = await startPgBouncer(server.url);
    await expect(check(configOf(url))).rejects.toMatchObject({
      cause: { message: expect.stringContaining('DATABASE_PREPARED_STATEMENTS=false') },
    });
    await check(configOf(url, { DATABASE_PREPARED_STATEMENTS: 'false' }));
  });

  it('that drops session settings is detected', async () => {
    const { url } = await startPgBouncer(server.url, { ignore_startup_parameters: 'options' });
    await expect(check(configOf(url))).rejects.toMatchObject({
      code: 'unsupported_database',
      message: expect.stringContaining('DATABASE_PREPARED_STATEMENTS=false'),
    });
  });

  it('in statement mode is refused', async () => {
    const { url } = await startPgBouncer(server.url, { pool_mode: 'statement' });
    await expect(check(configOf(url, { DATABASE_PREPARED_STATEMENTS: 'false' }))).rejects.toThrow(/transaction/);
  });
});
