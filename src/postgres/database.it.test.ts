import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { startLossyProxy, type LossyProxy } from '../../test/harness/lossy-proxy.ts';
import { startPostgres, type PrivateServer } from '../../test/harness/private-stores.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { readConfig } from '../config/read-config.ts';
import { RefusedDataError, StatementTimedOutError, StoreUnavailableError } from '../core/errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage, type Outage } from '../telemetry/outage.ts';
import { createDatabaseClock } from './database-clock.ts';
import { createDatabase, type Database } from './database.ts';
import { classify } from './faults/classify.ts';

const log = createLogger('silent', {});
let env: Record<string, string>;

function open(url: string, prepared = 'true'): { database: Database; outage: Outage } {
  const outage = createOutage('postgresql', log, createMetrics(), Date.now);
  const database = createDatabase(
    readConfig({ ...env, DATABASE_URL: url, DATABASE_PREPARED_STATEMENTS: prepared }),
    outage,
    log,
  );
  atEndOfFile(() => database.close());
  return { database, outage };
}

let nth = 0;
const select = (text: string) => ({ name: `test-${nth++}`, text });

beforeAll(async () => {
  ({ env } = await createTestStores());
});

describe('createDatabase', () => {
  it('returns JSON as the stored text, bigint as number and times as Date', async () => {
    const { database } = open(env['DATABASE_URL'] as string);
    const [row] = await database.run(
      select(`SELECT '{"b" : 1.0}'::json AS j, 1795478014998::bigint AS n, 'epoch'::timestamptz AS t`),
      [],
    );
    expect(row).toEqual({ j: '{"b" : 1.0}', n: 1_795_478_014_998, t: new Date(0) });
  });

  it('tells refused data from other errors', async () => {
    const { database, outage } = open(env['DATABASE_URL'] as string);
    await expect(database.run(select(`SELECT $1::text::json`), ['{'])).rejects.toBeInstanceOf(RefusedDataError);
    await expect(database.run(select('SELECT nothing'), [])).rejects.toMatchObject({ code: '42703' });
    expect(outage.ongoing).toBe(false);
  });

  it('a statement that timed out is no outage', async () => {
    const { database, outage } = open(env['DATABASE_URL'] as string);
    const cancelled = database.run(select('SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)'), []);
    await expect(cancelled).rejects.toBeInstanceOf(StatementTimedOutError);
    expect(outage.ongoing).toBe(false);
  });

  it('rolls a transaction back when its body throws, and keeps using the connection', async () => {
    const { database, outage } = open(env['DATABASE_URL'] as string);
    const changeOfMind = new Error('changed my mind');
    await expect(
      database.transaction(async (run) => {
        await run(select(`INSERT INTO queues (name) VALUES ('rolled-back')`), []);
        throw changeOfMind;
      }),
    ).rejects.toBe(changeOfMind);
    expect(outage.ongoing).toBe(false);
    expect(await database.run(select(`SELECT name FROM queues WHERE name = 'rolled-back'`), [])).toEqual([]);
  });

  it('repeats a transaction after a deadlock', async () => {
    const { database } = open(env['DATABASE_URL'] as string);
    await database.run(select(`INSERT INTO queues (name) VALUES ('a'), ('b')`), []);
    const both = Promise.withResolvers<void>();
    let waiting = 0;
    const lockBoth = (first: string, second: string) =>
      database.transaction(async (run) => {
        await run(select(`UPDATE queues SET version = version + 1 WHERE name = $1`), [first]);
        // In the first round, each transaction holds its first row before it asks for the second.
        if (++waiting === 2) both.resolve();
        await both.promise;
        await run(select(`UPDATE queues SET version = version + 1 WHERE name = $1`), [second]);
      });
    await Promise.all([lockBoth('a', 'b'), lockBoth('b', 'a')]);
    const rows = await database.run(select(`SELECT version FROM queues WHERE name IN ('a', 'b')`), []);
    expect(rows).toEqual([{ version: 3 }, { version: 3 }]);
  });

  it.each(['true', 'false'])(
    'survives a connection that breaks between two statements, prepared: %s',
    async (prepared) => {
      const url = env['DATABASE_URL'] as string;
      const { database } = open(url, prepared);
      const broken = database.transaction(async (run) => {
        const [row] = await run<{ pid: number }>(select('SELECT pg_backend_pid() AS pid'), []);
        await withConnection(url, (client) => client.query('SELECT pg_terminate_backend($1, 5000)', [row?.pid]));
        await run(select('SELECT 1'), []);
      });
      await expect(broken).rejects.toBeInstanceOf(StoreUnavailableError);
      expect(await database.run(select('SELECT 1 AS one'), [])).toEqual([{ one: 1 }]);
    },
  );

  it('reports an outage while PostgreSQL is down, and recovers by itself', async () => {
    const server = await startPostgres();
    const { database, outage } = open(server.url);
    await database.run(select('SELECT 1'), []);
    await server.stop();
    await expect(database.run(select('SELECT 1'), [])).rejects.toBeInstanceOf(StoreUnavailableError);
    expect(outage.ongoing).toBe(true);
    await server.restart();
    await expect.poll(() => database.run(select('SELECT 1'), []), { timeout: 10_000 }).toHaveLength(1);
    expect(outage.ongoing).toBe(false);
  });
});

describe('a failover of PostgreSQL', () => {
  const WRITE = { name: 'test-write', text: 'INSERT INTO written VALUES ($1)' };

  async function startPair(): Promise<{ first: PrivateServer; second: PrivateServer; proxy: LossyProxy }> {
    const [first, second] = await Promise.all([startPostgres(), startPostgres()]);
    for (const server of [first, second])
      await withConnection(server.url, (client) => client.query('CREATE TABLE written (n int)'));
    // Both have the same password, so that one URL leads to either of them.
    const { password } = new URL(first.url);
    await withConnection(second.url, (client) => client.query(`ALTER ROLE scheduler PASSWORD '${password}'`));
    return { first, second, proxy: await startLossyProxy(first.url) };
  }

  /** Makes a server read-only, like a demotion to standby: its connections stay open, but writes are refused. */
  const demote = ({ url }: PrivateServer): Promise<unknown> =>
    withConnection(url, async (client) => {
      await client.query('ALTER SYSTEM SET default_transaction_read_only = on');
      await client.query('SELECT pg_reload_conf()');
      await untilTrue(async () => {
        const { rows } = await client.query<{ transaction_read_only: string }>('SHOW transaction_read_only');
        return rows[0]?.transaction_read_only === 'on';
      });
    });

  it.each(['true', 'false'])('causes no error for writers, prepared: %s', async (prepared) => {
    const { first, proxy, second } = await startPair();
    const { database, outage } = open(proxy.url, prepared);
    const writeFive = () => Promise.all([1, 2, 3, 4, 5].map((n) => database.run(WRITE, [n])));
    await writeFive();
    await demote(first);
    proxy.redirect(second.url);
    for (let i = 0; i < 3; i++) await writeFive();
    expect(outage.ongoing).toBe(false);
    const count = { name: 'test-count', text: 'SELECT count(*) AS n FROM written' };
    expect(await database.transaction((run) => run(count, []))).toEqual([{ n: 15 }]);
  });

  it('without a new primary is an outage, until the server accepts writes again', async () => {
    const { first, proxy } = await startPair();
    const { database } = open(proxy.url);
    await database.run(WRITE, [1]);
    await demote(first);
    await expect(database.run(WRITE, [2])).rejects.toBeInstanceOf(StoreUnavailableError);
    await withConnection(first.url, async (client) => {
      await client.query('ALTER SYSTEM RESET default_transaction_read_only');
      await client.query('SELECT pg_reload_conf()');
    });
    await expect.poll(() => database.run(WRITE, [3]).catch(() => null), { timeout: 10_000 }).toEqual([]);
  });

  it.each(['57P01', '57P02', '57P03', '25006', '08006', '53300'])('counts as an outage: %s', (code) => {
    expect(classify(Object.assign(new pg.DatabaseError('gone', 1, 'error'), { code }))).toBe('unavailable');
  });
});

describe('classify', () => {
  it('treats an internal error as unavailable only if the server closed the connection with it', () => {
    const internal = (severity: string): pg.DatabaseError =>
      Object.assign(new pg.DatabaseError('could not write init file', 1, 'error'), { code: 'XX000', severity });
    expect(['FATAL', 'ERROR'].map((severity) => classify(internal(severity)))).toEqual(['unavailable', 'other']);
  });

  it.each(['EPIPE', 'ECONNRESET', 'ENOTFOUND'])('treats %s of a socket as an outage', (code) => {
    expect(classify(Object.assign(new Error('write failed'), { code }))).toBe('unavailable');
  });
});

describe('createDatabaseClock', () => {
  it("returns PostgreSQL's time, regardless of the host's clock", async () => {
    const { database } = open(env['DATABASE_URL'] as string);
    let monotonicMs = 5;
    const clock = createDatabaseClock(database, { nowMs: () => 0, monotonicMs: () => monotonicMs });
    expect(() => clock.nowMs()).toThrow('not been measured');
    await clock.runOnce();
    expect(Math.abs(clock.nowMs() - Date.now())).toBeLessThan(1_000);
    const before = clock.nowMs();
    monotonicMs += 1_234;
    expect(clock.nowMs() - before).toBeCloseTo(1_234);
  });
});

it.each(['true', 'false'])(
  'a statement may have settings of its own, which end with it (own connections: %s)',
  async (own) => {
    const { database } = open(String(env['DATABASE_URL']), own);
    const show = select(
      `SELECT current_setting('enable_sort') AS sort, current_setting('statement_timeout') AS timeout`,
    );
    expect(await database.runWithin(1_500, { enable_sort: 'off' })(show, [])).toEqual([
      { sort: 'off', timeout: '1500ms' },
    ]);
    expect(await database.run(show, [])).toEqual([{ sort: 'on', timeout: '10s' }]);
  },
);
