import { beforeEach, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { readConfig } from '../../config/read-config.ts';
import { OUTAGE_QUIET_MS } from '../../config/timings.ts';
import { PoolExhaustedError, StatementTimedOutError } from '../../core/errors.ts';
import { createSystemReads } from '../../engine/counts/system-reads.ts';
import { createLogger, type Logger } from '../../telemetry/logger.ts';
import { createMetrics, type Metrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createDatabase, type Database } from '../database.ts';
import { createReader } from '../reads/reader.ts';

let url: string;
let env: Record<string, string>;
let lines: Record<string, unknown>[];
let log: Logger;
let metrics: Metrics;

beforeEach(async () => {
  ({ env, databaseUrl: url } = await createTestStores());
  lines = [];
  log = createLogger('info', {}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  metrics = createMetrics();
});

const outage = () => createOutage('postgresql', log, metrics, () => performance.now());

function open(settings: Record<string, string> = {}): Database {
  const database = createDatabase(readConfig({ ...env, ...settings }), outage(), log, metrics);
  atEndOfFile(() => database.close());
  return database;
}

const QUEUES = { name: 'test-queues', text: 'SELECT name FROM queues' };
const LOCK = 'LOCK TABLE queues IN ACCESS EXCLUSIVE MODE';
const patience = (name: string, ms: number) => ({
  name: `test-${name}`,
  text: `SELECT set_config('${name}', '${ms}', true)`,
});

/** Runs `body` while another session holds a lock on the table of the queues. */
const whileLocked = <Result>(body: () => Promise<Result>): Promise<Result> =>
  withConnection(url, async (client) => {
    await client.query('BEGIN');
    await client.query(LOCK);
    const result = await body();
    await client.query('ROLLBACK');
    return result;
  });

async function counted(): Promise<Record<string, number>> {
  const { values } = await metrics.statementTimeouts.get();
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels.statement), value]));
}

const storeUp = async (): Promise<unknown> => (await metrics.storeUp.get()).values[0]?.value;
const messages = (): unknown[] => lines.map(({ msg }) => msg);

describe('a statement that waits too long for a lock', () => {
  it.each(['true', 'false'])('is a timeout reported under its name, and no outage; prepared: %s', async (prepared) => {
    const database = open({ DATABASE_PREPARED_STATEMENTS: prepared });
    await whileLocked(async () => {
      for (let i = 0; i < 3; i++) {
        const error: unknown = await database
          .runWithin(100)(QUEUES, [])
          .catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(StatementTimedOutError);
        expect(error).toMatchObject({ code: 'statement_timed_out', statement: 'test-queues', locked: false });
      }
    });
    expect(lines).toEqual([
      expect.objectContaining({ level: 'warn', statement: 'test-queues', msg: 'statement timed out' }),
    ]);
    expect(await counted()).toEqual({ 'test-queues': 3 });
    expect(await storeUp()).toBe(1);
    // The log line for the end comes only after the statement has succeeded for a while.
    await database.run(QUEUES, []);
    expect(messages()).not.toContain('statement ends in time again');
    await untilTrue(
      async () => {
        await database.run(QUEUES, []);
        return messages().includes('statement ends in time again');
      },
      { timeoutMs: OUTAGE_QUIET_MS * 3 },
    );
    expect(lines[1]).toMatchObject({ level: 'info', statement: 'test-queues', failures: 3 });
  });

  it('and fails by `lock_timeout` is a timeout too, and is marked as locked', async () => {
    const database = open();
    const asked = whileLocked(() =>
      database.transaction(async (run) => {
        await run(patience('lock_timeout', 50), []);
        return run(QUEUES, []);
      }),
    );
    await expect(asked).rejects.toMatchObject({ statement: 'test-queues', locked: true });
    expect(await counted()).toEqual({ 'test-queues': 1 });
    expect(await storeUp()).toBe(1);
  });

  it('in the reads of lists is a timeout too', async () => {
    const reader = createReader(readConfig(env), outage(), log, metrics, 100);
    atEndOfFile(() => reader.close());
    await expect(whileLocked(() => createSystemReads(reader).queues(null))).rejects.toMatchObject({
      code: 'statement_timed_out',
      statement: 'list-queues',
    });
    expect(lines).toEqual([
      expect.objectContaining({ level: 'warn', statement: 'list-queues', msg: 'statement timed out' }),
    ]);
    expect(await counted()).toEqual({ 'list-queues': 1 });
    expect(await storeUp()).toBe(1);
  });
});

describe('a transaction that was idle for too long', () => {
  it('is repeated once, since it was rolled back; a second time it is a timeout and no outage', async () => {
    const database = open();
    let rounds = 0;
    const idle = (most: number) =>
      database.transaction(async (run) => {
        if (rounds++ < most) {
          const [row] = await run<{ pid: number }>({ name: 'test-pid', text: 'SELECT pg_backend_pid() AS pid' }, []);
          await run(patience('idle_in_transaction_session_timeout', 50), []);
          await withConnection(url, (client) =>
            untilTrue(async () => {
              const { rows } = await client.query('SELECT FROM pg_stat_activity WHERE pid = $1', [row?.pid]);
              return rows.length === 0;
            }),
          );
        }
        return run<{ name: string }>(QUEUES, []);
      });
    expect(await idle(1)).toEqual([{ name: 'default' }]);
    expect(rounds).toBe(2);
    rounds = 0;
    await expect(idle(2)).rejects.toMatchObject({ code: 'statement_timed_out', statement: 'test-queues' });
    expect(await counted()).toEqual({ 'test-queues': 1 });
    expect(messages()).toEqual(['statement timed out']);
    expect(await storeUp()).toBe(1);
  });
});

describe('a wait for a connection of the own pool', () => {
  it('is no outage: it has its own error, log line and metric', async () => {
    const database = open({ DATABASE_POOL_MAX: '2' });
    const inUse = Promise.withResolvers<void>();
    const busy = [1, 2].map(() => database.transaction(() => inUse.promise));
    for (let i = 0; i < 2; i++) {
      const error: unknown = await database.run(QUEUES, []).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(PoolExhaustedError);
      expect(error).toMatchObject({ code: 'pool_exhausted', retryable: true });
    }
    expect(lines).toEqual([
      expect.objectContaining({ level: 'warn', pool: 'main', msg: 'no connection of the own pool came free in time' }),
    ]);
    expect((await metrics.poolExhausted.get()).values).toEqual([
      expect.objectContaining({ labels: { pool: 'main' }, value: 2 }),
    ]);
    expect(await storeUp()).not.toBe(0);
    inUse.resolve();
    await Promise.all(busy);
    expect(await database.run(QUEUES, [])).toEqual([{ name: 'default' }]);
  });
});
