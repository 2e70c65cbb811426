import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { clientsInFiles, secretOf } from '../../../test/harness/clients.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts } from '../../../test/harness/parts.ts';
import { startProcess, untilTrue, type TestProcess } from '../../../test/harness/processes.ts';
import { createTestStores, emptyDatabase, type TestStores } from '../../../test/harness/stores.ts';
import { SHORT_HEARTBEATS, startSystem, type TestSystem } from '../../../test/harness/system.ts';
import { createDay, dropDayTables, insertTasks, PARTITIONED } from '../../../test/harness/task-rows.ts';
import { createRefusalLog } from '../../features/audit/refusal-log.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { migrate } from './migrate.ts';
import { MIGRATIONS } from './migrations/index.ts';

const ROLE = `app_${randomBytes(5).toString('hex')}`;
const SCHEMA = 'scheduler';

let ownerUrl: string;
let stores: TestStores;

const asOwner = (text: string) => withConnection(ownerUrl, (client) => client.query(text));
const admin = (text: string) => withConnection(inject('adminUrl'), (client) => client.query(text));

beforeAll(async () => {
  await admin(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'app'`);
  atEndOfFile(async () => void (await admin(`DROP ROLE ${ROLE}`)));
  ownerUrl = await emptyDatabase();
  // Take away everything that the role would get by default.
  await asOwner(`REVOKE ALL ON DATABASE ${new URL(ownerUrl).pathname.slice(1)} FROM PUBLIC;
                 GRANT CONNECT ON DATABASE ${new URL(ownerUrl).pathname.slice(1)} TO ${ROLE};
                 ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC`);
  const migration = startProcess(['node', 'src/main.ts', 'migrate', '--app-role', ROLE], {
    DATABASE_URL: ownerUrl,
    DATABASE_SCHEMA: SCHEMA,
    REDIS_URL: inject('redisUrl'),
  });
  const { code } = await migration.waitForExit();
  if (code !== 0) throw new Error(migration.output);
  const url = new URL(ownerUrl);
  [url.username, url.password] = [ROLE, 'app'];
  stores = await createTestStores({ databaseUrl: url.href });
});

const rows = async (text: string): Promise<Record<string, unknown>[]> =>
  withConnection(ownerUrl, async (client) => {
    await client.query(`SET search_path = ${SCHEMA}`);
    return (await client.query<Record<string, unknown>>(text)).rows;
  });

const untilStatuses = (wanted: Record<string, number>): Promise<boolean> =>
  untilTrue(
    async () => {
      const found = await rows('SELECT status, count(*)::int AS count FROM tasks GROUP BY status ORDER BY status');
      return (
        JSON.stringify(Object.fromEntries(found.map(({ status, count }) => [status, count]))) === JSON.stringify(wanted)
      );
    },
    { describe: () => rows('SELECT id, status, lost FROM tasks') },
  );

describe('API, workers and reclaimer under a role that owns nothing', () => {
  const processes: TestProcess[] = [];
  let system: TestSystem;
  let reclaimer: TestProcess;

  beforeAll(async () => {
    const env = { ...SHORT_HEARTBEATS, DATABASE_SCHEMA: SCHEMA, LOG_LEVEL: 'debug' };
    system = await startSystem(stores, env);
    processes.push(system.api);
  });

  it('submit, run, cancel and requeue tasks', async () => {
    const env = { WORKER_SLOTS: '4' };
    const worker = await system.startWorker(env);
    processes.push(worker);
    const quick = { payload: {}, execution_time: 0 };
    await system.submit(quick);
    await system.submitBatch([{ ...quick, idempotency_key: 'a-key', metadata: { a: 'b' }, group: 'g' }, quick]);
    const dead = await system.submit({ ...quick, payload: { simulate: { fail: 'final' } } });
    const waiting = await system.submit({ queue: 'of-its-own', ...quick });
    await untilStatuses({ PENDING: 1, COMPLETED: 3, FAILED: 1 });
    expect((await system.post(`/tasks/${waiting}/cancel`, {})).ok).toBe(true);
    expect((await system.post(`/dlq/${dead}/requeue`, {})).ok).toBe(true);
    await untilTrue(async () => (await rows(`SELECT FROM dlq`)).length === 2);
    for (const path of [
      '/tasks',
      '/tasks?metadata.a=b&group=g',
      '/queues',
      '/workers',
      '/dlq',
      '/stats',
      '/audit',
      `/tasks/${dead}`,
    ]) {
      expect((await fetch(system.baseUrl + path)).status, path).toBe(200);
    }
    for (const verb of ['pause', 'resume']) expect((await system.post(`/queues/default/${verb}`, {})).status).toBe(200);
    expect((await system.post('/dlq/requeue', { filter: {} })).status).toBe(200);
  });

  it('write what they did and refused into the audit log', async () => {
    const parts = await openParts({ ...stores.env, DATABASE_SCHEMA: SCHEMA });
    const refusals = createRefusalLog({ database: parts.database, metrics: parts.metrics, log: parts.log });
    for (let i = 0; i < 2; i++) {
      refusals.note({
        client: 'viewer',
        action: 'task.cancel',
        code: 'missing_scope',
        object: null,
        address: '::1',
        traceId: `t-${i}`,
      });
      await refusals.write();
    }
    const actions = await rows('SELECT action, sum(count)::int AS count FROM audit GROUP BY action ORDER BY action');
    expect(actions).toEqual([
      { action: 'dlq.requeue', count: 1 },
      { action: 'queue.pause', count: 1 },
      { action: 'queue.resume', count: 1 },
      { action: 'task.cancel', count: 3 },
      { action: 'task.requeue', count: 1 },
    ]);
  });

  it('manage clients', async () => {
    const json = { 'content-type': 'application/json' };
    const send = (method: string, path: string, body?: object) =>
      fetch(system.baseUrl + path, { method, headers: json, body: body === undefined ? null : JSON.stringify(body) });
    expect((await send('POST', '/clients', { name: 'shop', role: 'viewer' })).status).toBe(201);
    expect((await send('PATCH', '/clients/shop', { note: 'changed' })).status).toBe(200);
    expect((await send('POST', '/clients/shop/rotate', { overlap: 0 })).status).toBe(200);
    const { items } = (await (await send('GET', '/clients')).json()) as { items: { secrets: { id: string }[] }[] };
    const [first] = items[0]?.secrets ?? [];
    expect((await send('DELETE', `/clients/shop/secrets/${first?.id}`)).status).toBe(204);
    expect((await send('DELETE', '/clients/shop')).status).toBe(204);
    // With keys, the directory reads clients and notes their uses.
    const keys = await startSystem(stores, { DATABASE_SCHEMA: SCHEMA, AUTH: 'keys' });
    processes.push(keys.api);
    const { status } = await keys.post('/tasks', {}, { Authorization: `Bearer ${'x'.repeat(40)}` });
    expect(status).toBe(401);
  });

  it('keep sessions of people', async () => {
    const keys = await startSystem(stores, { DATABASE_SCHEMA: SCHEMA, ...clientsInFiles({ root: { role: 'admin' } }) });
    processes.push(keys.api);
    const page = { 'Sec-Fetch-Site': 'same-origin' };
    const logIn = async () => {
      const reply = await keys.post('/session', { secret: secretOf('root') }, page);
      expect(reply.status).toBe(200);
      return { ...page, Cookie: (reply.headers.get('set-cookie') ?? '').split(';')[0] as string };
    };
    const send = async (method: string, path: string, headers: Record<string, string>) =>
      (await fetch(keys.baseUrl + path, { method, headers })).status;
    const headers = await logIn();
    await rows(`UPDATE sessions SET used_at = now() - interval '2 minutes'`);
    expect(await send('GET', '/sessions', headers)).toBe(200);
    expect(await rows(`SELECT FROM sessions WHERE used_at > now() - interval '1 minute'`)).toHaveLength(1);
    expect(await send('DELETE', '/session', headers)).toBe(204);
    const again = await logIn();
    const [one] = await rows('SELECT id FROM sessions');
    expect(await send('DELETE', `/sessions/${one?.['id'] as string}`, again)).toBe(204);
    expect(await send('DELETE', '/sessions?client=root', await logIn())).toBe(200);
    // The reclaimer deletes this one.
    await logIn();
    await rows(`UPDATE sessions SET expires_at = now() - interval '1 second'`);
  });

  it('take back the tasks of a dead worker', async () => {
    reclaimer = await system.startReclaimer();
    processes.push(reclaimer);
    const [worker] = processes.slice(1);
    await system.submitBatch([
      { payload: {}, execution_time: 2 },
      { payload: {}, execution_time: 2 },
    ]);
    await untilTrue(async () => (await rows(`SELECT FROM tasks WHERE status = 'PROCESSING'`)).length === 2);
    worker?.signal('SIGKILL');
    processes.push(await system.startWorker());
    const lost = async () =>
      (await rows(`SELECT count(*)::int AS n FROM tasks WHERE status = 'COMPLETED' AND lost = 1`))[0]?.['n'];
    await expect.poll(lost, { timeout: 30_000 }).toBe(2);
  });

  it('delete old rows and partitions, and create the partitions of the next days', async () => {
    for (const statement of createDay('20200101', PARTITIONED, SCHEMA)) await rows(statement);
    const [next] = await rows(`SELECT to_char(now() AT TIME ZONE 'UTC' + interval '7 days', 'YYYYMMDD') AS day`);
    const day = next?.['day'] as string;
    await rows(dropDayTables(day, PARTITIONED, SCHEMA));
    // One task in a partition to drop, and one that has to be deleted as a row.
    for (const id of [`lowest_task_id('2020-01-01 12:00Z')`, `lowest_task_id(now() - interval '2 hours')`])
      await rows(
        insertTasks({ id, status: `'FAILED'`, finished_at: `now() - interval '2 hours'`, metadata: `'{"a":"b"}'` }),
      );
    await rows(`INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
                SELECT id, 0, 'w.1', 1, now(), now(), 'RETRIED' FROM finished WHERE worker_id = 'test'`);
    await rows(`INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at)
                SELECT id, 1, 'default', 2, 'final_error', '[]', now() FROM finished WHERE worker_id = 'test'`);
    const traces = (ids: string) => `
      SELECT id FROM submissions WHERE id IN (${ids}) UNION ALL SELECT id FROM metadata_pairs WHERE id IN (${ids})
      UNION ALL SELECT id FROM finished WHERE id IN (${ids})
      UNION ALL SELECT task_id FROM attempts WHERE task_id IN (${ids}) UNION ALL SELECT task_id FROM dlq WHERE task_id IN (${ids})`;
    const inserted = await rows(`SELECT id FROM finished WHERE worker_id = 'test'`);
    const ids = inserted.map(({ id }) => `'${id as string}'`).join(', ');
    expect(await rows(traces(ids))).toHaveLength(10);
    // The running reclaimer has a longer retention.
    reclaimer.signal('SIGTERM');
    await reclaimer.waitForExit();
    await rows(`UPDATE audit SET at = now() - interval '2 hours'`);
    const retention = { RETENTION: '1h', RETENTION_FAILED: '1h', IDEMPOTENCY_TTL: '1s', AUDIT_RETENTION: '1h' };
    processes.push(await system.startReclaimer(retention));
    // Housekeeping rests for a minute after each run; this clears the rest.
    const wake = `UPDATE sweeper SET cursors = (cursors::jsonb - 'rested')::json`;
    await untilTrue(
      async () =>
        (await rows(wake)) &&
        (await rows(traces(ids))).length === 0 &&
        (await rows('SELECT FROM audit')).length === 0 &&
        (await rows('SELECT FROM sessions')).length === 0 &&
        (await rows(`SELECT to_regclass('submissions_20200101') AS old`))[0]?.['old'] === null,
      { describe: () => rows('SELECT holder, pass, cursors FROM sweeper') },
    );
    expect(await rows(`SELECT to_regclass('submissions_${day}') IS NOT NULL AS made`)).toEqual([{ made: true }]);
  });

  it('were never refused a permission', () => {
    for (const { output } of processes) expect(output).not.toMatch(/permission denied|42501/);
  });

  it('cannot change the schema', async () => {
    await withConnection(stores.databaseUrl, async (client) => {
      await client.query(`SET search_path = ${SCHEMA}`);
      for (const text of [
        'CREATE TABLE mine ()',
        'TRUNCATE submissions',
        'DROP TABLE dlq',
        'DELETE FROM migrations',
        `UPDATE audit SET client = 'another'`,
        `UPDATE sessions SET client = 'another'`,
      ]) {
        await expect(client.query(text), text).rejects.toMatchObject({ code: '42501' });
      }
    });
  });
});

describe('an upgrade', () => {
  const [app, reader] = [`app_${randomBytes(5).toString('hex')}`, `reader_${randomBytes(5).toString('hex')}`];
  const log = createLogger('silent', {});

  /** What roles may do with a table. */
  const rightsOn = async (url: string, table: string) =>
    withConnection(url, async (client) => {
      const { rows: found } = await client.query<{ role: string; rights: string[] }>(
        `SELECT pg_get_userbyid(grantee)::text AS role, array_agg(privilege_type ORDER BY privilege_type) AS rights
         FROM pg_class c, aclexplode(c.relacl) WHERE c.oid = $1::regclass AND grantee <> c.relowner GROUP BY grantee`,
        [`${SCHEMA}.${table}`],
      );
      return Object.fromEntries(found.map(({ role, rights }) => [role, rights]));
    });

  it('grants rights on what is new to the roles that were given before, and to no others', async () => {
    for (const role of [app, reader]) {
      await admin(`CREATE ROLE ${role}`);
      atEndOfFile(async () => void (await admin(`DROP ROLE ${role}`)));
    }
    const DATABASE_URL = await emptyDatabase();
    const settings = { DATABASE_URL, DATABASE_SCHEMA: SCHEMA };
    // An older version of the scheduler has no audit log.
    const newer = MIGRATIONS.splice(2);
    try {
      expect(await migrate(settings, log)).toEqual(['0001-initial', '0002-access']);
    } finally {
      MIGRATIONS.push(...newer);
    }
    await withConnection(DATABASE_URL, (client) =>
      client.query(`
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${SCHEMA} TO ${app};
        GRANT SELECT ON ALL TABLES IN SCHEMA ${SCHEMA} TO ${reader};
        GRANT INSERT, UPDATE, DELETE ON ${SCHEMA}.submissions TO ${reader};
        GRANT SELECT ON ${SCHEMA}.unfinished TO PUBLIC;`),
    );
    expect(await migrate(settings, log)).toEqual(newer.map(({ name }) => name));
    expect(await rightsOn(DATABASE_URL, 'audit')).toEqual({ [app]: ['DELETE', 'INSERT', 'SELECT'] });

    // Without an upgrade, nothing is granted: what somebody has taken away stays away.
    await withConnection(DATABASE_URL, (client) => client.query(`REVOKE DELETE ON ${SCHEMA}.audit FROM ${app}`));
    expect(await migrate(settings, log)).toEqual([]);
    expect(await rightsOn(DATABASE_URL, 'audit')).toEqual({ [app]: ['INSERT', 'SELECT'] });
  });
});

it('a role that does not exist is named in the error, and nothing is migrated', async () => {
  const DATABASE_URL = await emptyDatabase();
  const log = createLogger('silent', {});
  await expect(migrate({ DATABASE_URL }, log, { appRole: 'nobody-here' })).rejects.toThrow('"nobody-here"');
  expect(await migrate({ DATABASE_URL }, log)).not.toEqual([]);
});
