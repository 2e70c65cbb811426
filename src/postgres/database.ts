import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DATABASE_LOG_IN_REPEAT_MS } from '../config/timings.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Outage } from '../telemetry/outage.ts';
import { createPool, isReadOnly, type LentConnection, type PoolSettings } from './connection/pool.ts';
import { beginWith, sessionSettings, type SessionSettings } from './connection/session.ts';
import { classify } from './faults/classify.ts';
import { createDatabaseFaults } from './faults/database-faults.ts';
import type { Statement } from './sql.ts';

/** Runs one statement and returns its rows (see `rowMode`): JSON columns as text, bigint as number, timestamptz as Date. */
export type Run = <Row extends object>(statement: Statement, values: readonly unknown[]) => Promise<Row[]>;

/**
 * The connection pool of the hot path. Calls throw `StoreUnavailableError` when PostgreSQL did not answer; the statement
 * may still have taken effect. They throw its subclasses `StatementTimedOutError` and `PoolExhaustedError` when the
 * statement had no effect, `RefusedDataError` when PostgreSQL refused the data, and otherwise the error of `pg`.
 */
export interface Database {
  /** Runs one statement in its own transaction, and repeats it after a serialization failure or a deadlock. */
  readonly run: Run;
  /**
   * Returns `run` with a shorter statement timeout, in milliseconds; less than `STATEMENT_TIMEOUT_MS`.
   * @param others settings that its statements need besides those of the session
   */
  runWithin(limitMs: number, others?: SessionSettings): Run;
  /** Runs several statements in one transaction; rolls back when `body` throws. */
  transaction<Result>(body: (run: Run) => Promise<Result>): Promise<Result>;
  /** Idempotent. */
  close(): Promise<void>;
}

const CONFLICT_REPEATS = 5;

export function createDatabase(settings: PoolSettings, outage: Outage, log: Logger, metrics?: Metrics): Database {
  const { DATABASE_PREPARED_STATEMENTS: ownConnections } = settings;
  const pool = createPool(settings, log, metrics);
  const faults = createDatabaseFaults({ pool: 'main', outage, log, metrics });

  const runOn =
    (connection: LentConnection): Run =>
    async <Row extends object>({ name, ...statement }: Statement, values: readonly unknown[]) => {
      const named = ownConnections ? { name } : {};
      try {
        const { rows } = await connection.query<Row>({ ...named, ...statement, values: [...values] });
        faults.answered(name);
        return rows;
      } catch (error) {
        throw faults.named(error, name);
      }
    };

  const guarded = async <Result>(call: () => Promise<Result>): Promise<Result> => {
    for (let repeat = 0; ; repeat++) {
      try {
        return await call();
      } catch (error) {
        const kind = classify(error);
        if (kind === 'conflict' && repeat < CONFLICT_REPEATS) {
          await delay(2 ** repeat * 5 * (0.5 + Math.random()));
          continue;
        }
        // The login failed, so the statement was not sent.
        if (isLogInRefused(error) && repeat === 0) {
          await delay(DATABASE_LOG_IN_REPEAT_MS);
          continue;
        }
        // The statement had no effect, and a new connection may lead to the new primary.
        if (isReadOnly(error) && repeat === 0) continue;
        // The transaction was rolled back, and its connection is closed.
        if (kind === 'idled' && repeat === 0) continue;
        throw faults.thrown(error);
      }
    }
  };

  const { DATABASE_SCHEMA: schema = '' } = settings;
  const begin = (limitMs?: number, others: SessionSettings = {}): string => {
    if (!ownConnections) return beginWith({ ...sessionSettings(schema, limitMs), ...others });
    if (limitMs === undefined) return 'BEGIN';
    const local = Object.entries({ statement_timeout: String(limitMs), ...others });
    return ['BEGIN', ...local.map(([name, value]) => `SET LOCAL ${name} = ${pg.escapeLiteral(value)}`)].join('; ');
  };

  const inTransaction = <Result>(
    body: (run: Run) => Promise<Result>,
    ...own: Parameters<typeof begin>
  ): Promise<Result> =>
    pool.lend(async (connection) => {
      try {
        await connection.query({ text: begin(...own) });
        const result = await body(runOn(connection));
        await connection.query({ text: 'COMMIT' });
        return result;
      } catch (error) {
        // On a connection that hangs, the ROLLBACK would wait behind the hanging statement.
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
    runWithin: (limitMs, others) => (statement, values) =>
      guarded(() => inTransaction((run) => run(statement, values), limitMs, others)),
    transaction: (body) => guarded(() => inTransaction(body)),
    close: pool.close,
  };
}

function isLogInRefused(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '28P01';
}
