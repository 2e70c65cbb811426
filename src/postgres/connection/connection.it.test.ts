import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { startTlsPostgres, strangersCertificate, type TlsServer } from '../../../test/harness/tls-stores.ts';
import type { Config } from '../../config/env.ts';
import { readConfig } from '../../config/read-config.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createDatabase, type Database } from '../database.ts';
import { createReader } from '../reads/reader.ts';
import { migrate } from '../schema/migrate.ts';

const log = createLogger('silent', {});
const WHO = {
  name: 'test-who',
  text: 'SELECT current_user::text AS who, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
};

const QUEUES = [{ name: 'default' }];

let postgres: TlsServer;
let urlFile: string;

beforeAll(async () => {
  postgres = await startTlsPostgres();
  urlFile = `${postgres.caFile}.url`;
  await asSuperuser(`CREATE ROLE app LOGIN PASSWORD 'first'`, 'CREATE DATABASE app OWNER app');
  publish('first');
});

async function asSuperuser(...statements: string[]): Promise<void> {
  await withConnection(postgres.server.url, async (client) => {
    for (const statement of statements) await client.query(statement);
  });
}

const urlWith = (password: string, host = '127.0.0.1') => `postgresql://app:${password}@${host}:${postgres.port}/app`;

/** Replaces the whole file, like the host and Kubernetes do. */
function publish(password: string): void {
  writeFileSync(`${urlFile}.new`, `${urlWith(password)}?sslmode=verify-full\n`);
  renameSync(`${urlFile}.new`, urlFile);
}

function configOf(env: Record<string, string>): Config {
  return readConfig({ REDIS_URL: 'redis://127.0.0.1:1/0', DATABASE_CA_FILE: postgres.caFile, ...env });
}

function open(env: Record<string, string>): Database {
  const database = createDatabase(configOf(env), createOutage('postgresql', log, createMetrics(), Date.now), log);
  atEndOfFile(() => database.close());
  return database;
}

const endConnections = () =>
  asSuperuser(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`);

describe('TLS with a private authority', () => {
  it('serves statements, reads and migrations, whatever sslmode the URL names', async () => {
    for (const mode of ['', '?sslmode=verify-full', '?sslmode=disable', '?sslmode=no-verify']) {
      const database = open({ DATABASE_URL: `${urlWith('first')}${mode}` });
      expect(await database.run(WHO, [])).toEqual([{ who: 'app', ssl: true }]);
    }
    const config = configOf({ DATABASE_URL: urlWith('first') });
    expect(await migrate(config, log)).not.toEqual([]);
    const reader = createReader(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => reader.close());
    expect(await reader.read('test', (db) => db.selectFrom('queues').select('name').execute())).toEqual(QUEUES);
  });

  it('refuses a server whose certificate comes from another authority', async () => {
    const database = open({ DATABASE_URL: urlWith('first'), DATABASE_CA_FILE: strangersCertificate() });
    await expect(database.run(WHO, [])).rejects.toBeInstanceOf(StoreUnavailableError);
  });

  it('refuses a server whose certificate is for another name', async () => {
    const database = open({ DATABASE_URL: urlWith('first', '127.0.0.2') });
    await expect(database.run(WHO, [])).rejects.toMatchObject({ cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' } });
  });

  it('refuses a server if DATABASE_CA_FILE is empty and no known authority signed its certificate', async () => {
    const database = open({ DATABASE_URL: `${urlWith('first')}?sslmode=verify-full`, DATABASE_CA_FILE: '' });
    await expect(database.run(WHO, [])).rejects.toBeInstanceOf(StoreUnavailableError);
  });
});

describe('rotation of the password', () => {
  it('needs no restart: statements and reads continue', async () => {
    const config = configOf({ DATABASE_URL_FILE: urlFile });
    const database = open({ DATABASE_URL_FILE: urlFile });
    const reader = createReader(config, createOutage('postgresql', log, createMetrics(), Date.now), log);
    atEndOfFile(() => reader.close());
    const read = () => reader.read('test', (db) => db.selectFrom('queues').select('name').execute());
    expect(await database.run(WHO, [])).toEqual([{ who: 'app', ssl: true }]);
    expect(await read()).toEqual(QUEUES);

    await asSuperuser(`ALTER ROLE app PASSWORD 'second'`);
    // Open connections continue to work; new ones need the new password.
    expect(await database.run(WHO, [])).toEqual([{ who: 'app', ssl: true }]);
    publish('second');
    await endConnections();
    expect(await answerOf(() => database.run(WHO, []))).toEqual([{ who: 'app', ssl: true }]);
    expect(await answerOf(read)).toEqual(QUEUES);
  });

  it('is an outage while the file is outdated, until the file is replaced', async () => {
    const database = open({ DATABASE_URL_FILE: urlFile });
    await asSuperuser(`ALTER ROLE app PASSWORD 'third'`);
    await expect(database.run(WHO, [])).rejects.toBeInstanceOf(StoreUnavailableError);
    publish('third');
    expect(await database.run(WHO, [])).toEqual([{ who: 'app', ssl: true }]);
  });

  it('causes no error if the file follows at once', async () => {
    const database = open({ DATABASE_URL_FILE: urlFile });
    await asSuperuser(`ALTER ROLE app PASSWORD 'fourth'`);
    const answer = database.run(WHO, []);
    publish('fourth');
    expect(await answer).toEqual([{ who: 'app', ssl: true }]);
  });

  it('keeps using the last valid URL while the file is missing or half written', async () => {
    const database = open({ DATABASE_URL_FILE: urlFile });
    writeFileSync(urlFile, 'postgresql//');
    expect(await database.run(WHO, [])).toEqual([{ who: 'app', ssl: true }]);
    rmSync(urlFile);
    await endConnections();
    expect(await answerOf(() => database.run(WHO, []))).toEqual([{ who: 'app', ssl: true }]);
    publish('fourth');
  });
});

/** Retries the call, because the pool may lend a connection before it knows that the server ended it. */
async function answerOf<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  for (let tries = 0; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || tries === 10) throw error;
    }
  }
}
