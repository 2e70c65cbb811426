import { type InferKyselyDB, type Kysely, MikroORM } from '@mikro-orm/postgresql';
import pg from 'pg';
import type { Config } from '../../config/env.ts';
import {
  DATABASE_CONNECTION_LIFETIME_MS,
  DATABASE_CONNECT_TIMEOUT_MS,
  STATEMENT_TIMEOUT_MS,
} from '../../config/timings.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Outage } from '../../telemetry/outage.ts';
import { closePool, type ConnectionSettings, createClientClass } from '../connection/connection.ts';
import { sessionSettings, type SessionSettings, setLocally, startUpOptions } from '../connection/session.ts';
import { createDatabaseFaults } from '../faults/database-faults.ts';
import { ENTITIES } from '../schema/entities/index.ts';

/** The tables in Kysely's types: snake_case columns, times and JSON as text. */
export type Tables = InferKyselyDB<(typeof ENTITIES)[number]>;

/**
 * Runs read-only queries, each call on its own EntityManager. Throws `StoreUnavailableError` when PostgreSQL does not
 * answer, `StatementTimedOutError` when the query took too long, and `RefusedDataError` when PostgreSQL refuses a value.
 */
export interface Reader {
  /** @param name the statement's name in the logs and metrics of timeouts */
  read<Result>(name: string, query: (db: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  /**
   * Runs several reads on one snapshot of the database. Do little else between the reads, and run them one after the
   * other, because they share a connection.
   */
  snapshot<Result>(body: (reader: Pick<Reader, 'read'>) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

type OrmSettings = ConnectionSettings & Pick<Config, 'DATABASE_POOL_MAX' | 'DATABASE_PREPARED_STATEMENTS'>;

/** Lists have their own small pool, so that they do not take the connections that submissions need. */
const READ_CONNECTIONS_MAX = 4;

/**
 * A page is read in the order of an index, up to its last row. With poor statistics the planner would rather read whole
 * days and sort them. A sort that no index can replace is still made.
 */
const readSettings = (settings: OrmSettings, statementTimeoutMs?: number): SessionSettings => ({
  ...sessionSettings(settings.DATABASE_SCHEMA ?? '', statementTimeoutMs),
  enable_sort: 'off',
});

/** Creates the ORM. It connects with the first query. */
export function createOrm(
  settings: OrmSettings,
  statementTimeoutMs = STATEMENT_TIMEOUT_MS,
  Client = createClientClass(settings),
) {
  return new MikroORM({
    clientUrl: settings.DATABASE_URL,
    entities: [...ENTITIES],
    pool: { max: Math.min(READ_CONNECTIONS_MAX, settings.DATABASE_POOL_MAX) },
    driverOptions: {
      Client,
      types: { getTypeParser },
      connectionTimeoutMillis: DATABASE_CONNECT_TIMEOUT_MS,
      maxLifetimeSeconds: DATABASE_CONNECTION_LIFETIME_MS / 1_000,
      // Poolers in transaction mode refuse session settings, so there each read is a transaction that makes its settings.
      ...(settings.DATABASE_PREPARED_STATEMENTS
        ? { options: startUpOptions(readSettings(settings, statementTimeoutMs)) }
        : {}),
      query_timeout: statementTimeoutMs + 1_000,
      keepAlive: true,
      application_name: 'scheduler-reads',
    },
    // The views are for people, no query of ours reads them.
    schemaGenerator: { ignoreRoutines: true, skipTables: ['migrations'], skipViews: ['tasks', 'execution_logs'] },
    logger: () => {},
  });
}

/**
 * The tables that a drop of a past day locks, in its order. A snapshot is taken by the first statement that reads, before
 * that waits for any lock. If it waited for a drop, it would see neither the partitions of the day nor the rows that were
 * moved out of it. LOCK takes no snapshot, so nothing is moved between the snapshot and the last read.
 */
export function lockPartitioned(schema: string): string {
  const tables = ['finished', 'attempts', 'submissions', 'metadata_pairs'].map(
    (table) => `ONLY ${schema === '' ? '' : `${pg.escapeIdentifier(schema)}.`}${table}`,
  );
  return `LOCK TABLE ${tables.join(', ')} IN ACCESS SHARE MODE`;
}

export function createReader(
  settings: OrmSettings,
  outage: Outage,
  log: Logger,
  metrics?: Metrics,
  statementTimeoutMs?: number,
): Reader {
  const Client = createClientClass(settings);
  const orm = createOrm(settings, statementTimeoutMs, Client);
  const faults = createDatabaseFaults({ pool: 'reads', outage, log, metrics });
  const { DATABASE_PREPARED_STATEMENTS: ownConnections } = settings;
  const begin = setLocally(readSettings(settings, statementTimeoutMs));
  const lock = lockPartitioned(settings.DATABASE_SCHEMA ?? '');

  /** @param isolation whether each statement of `body` sees its own snapshot, or all of them share one */
  const inTransaction = <Result>(
    isolation: 'read committed' | 'repeatable read',
    body: (db: Kysely<Tables>) => Promise<Result>,
  ): Promise<Result> => {
    const em = orm.em.fork();
    const db: Kysely<Tables> = em.getKysely();
    return db
      .transaction()
      .setIsolationLevel(isolation)
      .setAccessMode('read only')
      .execute(async (transaction) => {
        const execute = (text: string) => em.getConnection().execute(text, [], 'run', transaction);
        // This must be the first statement. Those that read take the snapshot.
        if (isolation === 'repeatable read') await named('lock-partitioned', () => execute(lock));
        if (!ownConnections) await execute(begin);
        return body(transaction);
      });
  };

  /** Calls a read, and reports its success or failure under its name. */
  const named = async <Result>(name: string, call: () => Promise<Result>): Promise<Result> => {
    try {
      const result = await call();
      faults.answered(name);
      return result;
    } catch (error) {
      throw faults.thrown(faults.named(error, name));
    }
  };

  return {
    read: (name, query) =>
      named(name, () => (ownConnections ? query(orm.em.fork().getKysely()) : inTransaction('read committed', query))),
    async snapshot(body) {
      try {
        return await inTransaction('repeatable read', (db) =>
          body({ read: (name, query) => named(name, () => query(db)) }),
        );
      } catch (error) {
        // Errors of a read are already converted and pass through. The others come from BEGIN or COMMIT.
        throw faults.thrown(error);
      }
    },
    close: () => closePool(Client, () => orm.close(true)),
  };
}

const { INT8, JSON: JSON_OID, TIMESTAMPTZ } = pg.types.builtins;

/** Parses columns into the types that the entities declare. */
function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === JSON_OID || oid === TIMESTAMPTZ) return (value) => value;
  if (oid === INT8) return Number;
  return pg.types.getTypeParser(oid, format) as (value: string) => unknown;
}
