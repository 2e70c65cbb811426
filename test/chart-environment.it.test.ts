import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../scripts/stores/postgres.ts';
import { MIGRATIONS } from '../src/postgres/schema/migrations/index.ts';
import { startProcess } from './harness/processes.ts';
import { startTlsPostgres, startTlsRedis } from './harness/tls-stores.ts';

const WAIT_FOR = readFileSync(new URL('../charts/scheduler/files/wait-for.mjs', import.meta.url), 'utf8');
const PASSWORD = 'a/b+c#d@e%20f';

let env: Record<string, string>;

beforeAll(async () => {
  const postgres = await startTlsPostgres();
  // Both servers use one certificate: OpenSSL looks up an authority by its name, and two of these would share it.
  const redis = await startTlsRedis({ like: postgres });
  await withConnection(postgres.server.url, async (client) => {
    await client.query(`CREATE ROLE "app user" LOGIN PASSWORD '${PASSWORD}'`);
    await client.query('CREATE DATABASE app OWNER "app user"');
  });
  env = {
    DATABASE_URL: `postgresql://app%20user@localhost:${postgres.port}/app`,
    PGPASSWORD: PASSWORD,
    PGSSLMODE: 'verify-full',
    REDIS_URL: `rediss://:${new URL(redis.server.url).password}@localhost:${redis.port}/0`,
    NODE_EXTRA_CA_CERTS: postgres.caFile,
    HOST: '127.0.0.1',
    PORT: '0',
  };
});

const waitFor = (what: string, change: Record<string, string> = {}, hint: readonly string[] = []) =>
  startProcess(['node', '--input-type=module', '--eval', WAIT_FOR, what, ...hint], { ...env, ...change });

describe('with the environment that the chart sets for external stores with a private certificate authority', () => {
  it('pods wait for the database and its schema, migrate, and serve', async () => {
    expect((await waitFor('database').waitForExit()).code).toBe(0);
    const api = startProcess(['node', 'src/main.ts', 'api'], env);
    const schema = waitFor('schema', {}, ['kubectl logs']);
    const waiting = await schema.waitForLine(({ msg }) => msg === 'waiting for the migrations');
    expect(waiting).toMatchObject({ missing: MIGRATIONS.map(({ name }) => name).join(', '), look: 'kubectl logs' });

    const migration = startProcess(['node', 'src/main.ts', 'migrate'], env);
    expect((await migration.waitForExit()).code, migration.output).toBe(0);
    expect((await schema.waitForExit()).code).toBe(0);

    const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
    const url = `http://127.0.0.1:${String(port)}`;
    await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: 20_000 }).toBe(200);
    const headers = { 'content-type': 'application/json' };
    expect((await fetch(`${url}/tasks`, { method: 'POST', headers, body: '{"payload": 1}' })).status).toBe(200);
    await expect
      .poll(async () => (await fetch(`${url}/metrics`)).text(), { timeout: 20_000 })
      .toContain('scheduler_queue_tasks{queue="default",state="ready"} 1');
  });

  it('pods wait only for the schema that the setting names', async () => {
    const apart = { DATABASE_SCHEMA: 'apart' };
    const schema = waitFor('schema', apart);
    await schema.waitForLine(({ msg }) => msg === 'waiting for the migrations');
    const migration = startProcess(['node', 'src/main.ts', 'migrate'], { ...env, ...apart });
    expect((await migration.waitForExit()).code, migration.output).toBe(0);
    expect((await schema.waitForExit()).code).toBe(0);
    const other = waitFor('schema', { DATABASE_SCHEMA: 'elsewhere' });
    await other.waitForLine(({ msg }) => msg === 'waiting for the migrations');
    other.signal('SIGTERM');
    await other.waitForExit();
  });

  it('pods wait for the URL from a mounted Secret, which they read again on each attempt', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'secret-'));
    const file = join(directory, 'url');
    const waiting = waitFor('database', { DATABASE_URL: '', DATABASE_URL_FILE: file });
    await waiting.waitForLine(({ missing }) => missing === 'ENOENT');
    writeFileSync(file, `${env['DATABASE_URL']}\n`);
    expect((await waiting.waitForExit()).code).toBe(0);
    rmSync(directory, { recursive: true });
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ['an unknown certificate authority', { NODE_EXTRA_CA_CERTS: '' }, /self-signed certificate/],
    ['no TLS', { PGSSLMODE: 'disable' }, /no pg_hba.conf entry .*no encryption/],
    ['a wrong password', { PGPASSWORD: 'wrong' }, /password authentication failed for user "app user"/],
  ])('pods wait and log the reason with %s', async (_, change, reason) => {
    const waiting = waitFor('database', change);
    await waiting.waitForLine(({ missing }) => reason.test(String(missing)));
    // The script has no signal handler. In the pod it is not process 1 either, so the default action ends it.
    waiting.signal('SIGTERM');
    expect(await waiting.waitForExit()).toEqual({ code: null, signal: 'SIGTERM' });
    const migration = startProcess(['node', 'src/main.ts', 'migrate'], { ...env, ...change });
    expect((await migration.waitForExit()).code).not.toBe(0);
  });
});
