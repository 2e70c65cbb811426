import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DATABASE_LOG_IN_REPEAT_MS, STATEMENT_TIMEOUT_MS } from '../config/timings.ts';
import { RefusedDataError, SchedulerError, StatementTimedOutError, StoreUnavailableError } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Outage } from '../telemetry/outage.ts';
import { createPool, isReadOnly, type LentConnection, type PoolSettings } from './pool.ts';
import { loadSql, type Statement } from './sql.ts';

/** Runs one statement; rows come with JSON columns as text, bigint as number, timestamptz as Date. */
export type Run = <Row extends object>(statement: Statement, values: readonly unknown[]) => Promise<Row[]>;

/**
 * The connection pool of the hot path. Its calls throw `StoreUnavailableError`
 * when PostgreSQL did not answer (what was asked may still have happened),
 * `RefusedDataError` when it refused the data, and else what `pg` throws.
 */
export interface Database {
  /** Runs one statement in a transaction of its own; serialization failures and deadlocks are repeated. */
  readonly run: Run;
  /** `run` with another limit of time for the statement, in milliseconds; less than `STATEMENT_TIMEOUT_MS`. */
  runWithin(limitMs: number): Run;
  /** Runs several statements in one transaction; rolls back when `body` throws. */
  transaction<Result>(body: (run: Run) => Promise<Result>): Promise<Result>;
  /** Idempotent. */
  close(): Promise<void>;
}

const CONFLICT_REPEATS = 5;

export function createDatabase(settings: PoolSettings, outage: Outage, log: Logger, metrics?: Metrics): Database {
  const { DATABASE_PREPARED_STATEMENTS: ownConnections } = settings;
  const pool = createPool(settings, log, metrics);

  const runOn =
    (connection: LentConnection): Run =>
    async <Row extends object>({ name, text }: Statement, values: readonly unknown[]) => {
      const named = ownConnections ? { name } : {};
      return (await connection.query<Row>({ ...named, text, values: [...values] })).rows;
    };

  const guarded = async <Result>(call: () => Promise<Result>): Promise<Result> => {
    for (let repeat = 0; ; repeat++) {
      try {
        const result = await call();
        outage.answered();
        return result;
      } catch (error) {
        const kind = classify(error);
        if (kind === 'conflict' && repeat < CONFLICT_REPEATS) {
          await delay(2 ** repeat * 5 * (0.5 + Math.random()));
          continue;
        }
        // Nothing was asked yet.
        if (isLogInRefused(error) && repeat === 0) {
          await delay(DATABASE_LOG_IN_REPEAT_MS);
          continue;
        }
        // Nothing was done: another connection may lead to the server that has taken over.
        if (isReadOnly(error) && repeat === 0) continue;
        throw storeError(error, outage);
      }
    }
  };

  const begin = (limitMs: number | undefined): string => {
    if (ownConnections) return limitMs === undefined ? 'BEGIN' : `BEGIN; SET LOCAL statement_timeout = ${limitMs}`;
    return `BEGIN; SET LOCAL statement_timeout = ${limitMs ?? STATEMENT_TIMEOUT_MS}; SET LOCAL jit = off`;
  };

  const inTransaction = <Result>(body: (run: Run) => Promise<Result>, limitMs?: number): Promise<Result> =>
    pool.lend(async (connection) => {
      try {
        await connection.query({ text: begin(limitMs) });
        const result = await body(runOn(connection));
        await connection.query({ text: 'COMMIT' });
        return result;
      } catch (error) {
        // On a connection that hangs it would wait behind the statement that hangs.
        if (!connection.spoilt) await connection.query({ text: 'ROLLBACK' }).catch(connection.spoil);
        throw error;
      }
    });

  return {
    run: (statement, values) =>
      guarded(() =>
        ownConnections
          ? pool.lend((connection) => runOn(connection)(statement, values))
          : inTransaction((run) => run(statement, values)),
      ),
    runWithin: (limitMs) => (statement, values) =>
      guarded(() => inTransaction((run) => run(statement, values), limitMs)),
    transaction: (body) => guarded(() => inTransaction(body)),
    close: pool.close,
  };
}

function isLogInRefused(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '28P01';
}

const LOST_CONNECTION =
  /^(Connection terminated|Query read timeout|timeout e|Client (has encountered a connection error|was closed)|Cannot use a pool after|The server does not support SSL|There was an error establishing an SSL)/;

/** SQLSTATE classes and codes by what the caller can do about them (PostgreSQL manual, appendix A). */
export function classify(error: unknown): 'conflict' | 'refused' | 'timed_out' | 'unavailable' | 'other' {
  if (error instanceof SchedulerError) return 'other';
  const { code } = error as { code?: unknown };
  if (code === '40001' || code === '40P01') return 'conflict';
  // Only what the server sent has a SQLSTATE; a socket's EPIPE looks like one.
  if (error instanceof pg.DatabaseError && typeof code === 'string') {
    if (code.startsWith('22') || code.startsWith('23')) return 'refused';
    if (code === '57014') return 'timed_out';
    // A full disk keeps a new connection from writing its cache, and that has no code of its own.
    if (code === 'XX000' && error.severity === 'FATAL') return 'unavailable';
    // Connection exceptions, resources (disk, connections), shutdown, read-only standby, lock time-out,
    // and a password that is out of date until its file is replaced.
    return /^(08|53|57|58)|^25006$|^55P03$|^28P01$/.test(code) ? 'unavailable' : 'other';
  }
  if (!Error.isError(error) || error instanceof TypeError || error instanceof RangeError) return 'other';
  // Codes of the socket, the resolver and TLS; what `pg` and its pool say of a lost connection has only a message.
  return typeof code === 'string' || LOST_CONNECTION.test(error.message) ? 'unavailable' : 'other';
}

/** What a failed call is to throw; notes an outage where it is one. */
export function storeError(error: unknown, outage: Outage): unknown {
  switch (classify(error)) {
    case 'refused':
      return new RefusedDataError(error);
    case 'timed_out':
      outage.answered();
      return new StatementTimedOutError(error);
    case 'unavailable':
      outage.failed(error);
      return new StoreUnavailableError('postgresql', error);
    default:
      return error;
  }
}

const CHECK_SERVER = loadSql('check-server');

/**
 * Refuses a server that is too old or would lose what it committed.
 * @throws SchedulerError `unsafe_database` or `unsupported_database`
 */
export async function checkServer(database: Database, allowUnsafeDurability: boolean): Promise<void> {
  interface Row {
    version: number;
    fsync: string;
    synchronous_commit: string;
  }
  const [row] = await database.run<Row>(CHECK_SERVER, []);
  if (row === undefined) return;
  if (row.version < 150_000) {
    throw new SchedulerError(
      'unsupported_database',
      `PostgreSQL 15 or newer is expected; given ${Math.floor(row.version / 10_000)}`,
    );
  }
  const unsafe = [
    row.fsync === 'off' ? 'fsync=off' : '',
    row.synchronous_commit === 'off' ? 'synchronous_commit=off' : '',
  ].filter(Boolean);
  if (unsafe.length > 0 && !allowUnsafeDurability) {
    throw new SchedulerError(
      'unsafe_database',
      `PostgreSQL runs with ${unsafe.join(' and ')}, so that a crash loses tasks that were accepted; ` +
        'switch it on, or set DATABASE_ALLOW_UNSAFE_DURABILITY=true',
    );
  }
}
