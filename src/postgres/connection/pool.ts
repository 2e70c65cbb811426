import pg from 'pg';
import type { Config } from '../../config/env.ts';
import {
  DATABASE_ASTRAY_INTERVAL_MS,
  DATABASE_CONNECTION_LIFETIME_MS,
  DATABASE_CONNECT_TIMEOUT_MS,
  STATEMENT_TIMEOUT_MS,
} from '../../config/timings.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { onScrape, type Metrics } from '../../telemetry/metrics.ts';
import type { Statement } from '../sql.ts';
import { closePool, type ConnectionSettings, createClientClass } from './connection.ts';
import { sessionSettings, startUpOptions } from './session.ts';

export type PoolSettings = ConnectionSettings & Pick<Config, 'DATABASE_POOL_MAX' | 'DATABASE_PREPARED_STATEMENTS'>;

/** A connection that the pool has lent. */
export interface LentConnection {
  query<Row extends object>(query: pg.QueryConfig & Pick<Statement, 'rowMode'>): Promise<pg.QueryResult<Row>>;
  /** Keeps the pool from lending this connection again. */
  spoil(error: Error): void;
  readonly spoilt: boolean;
}

export interface Pool {
  /** Lends a connection until `use` has ended. A connection that broke, or whose state is unknown, is not lent again. */
  lend<Result>(use: (connection: LentConnection) => Promise<Result>): Promise<Result>;
  /** Idempotent. */
  close(): Promise<void>;
}

export function createPool(settings: PoolSettings, log: Logger, metrics?: Metrics): Pool {
  const Client = createClientClass(settings);
  const pool = new pg.Pool({
    Client,
    max: settings.DATABASE_POOL_MAX,
    connectionTimeoutMillis: DATABASE_CONNECT_TIMEOUT_MS,
    maxLifetimeSeconds: DATABASE_CONNECTION_LIFETIME_MS / 1_000,
    // Poolers in transaction mode refuse session settings, so there each transaction makes its own settings.
    ...(settings.DATABASE_PREPARED_STATEMENTS
      ? { options: startUpOptions(sessionSettings(settings.DATABASE_SCHEMA ?? '')) }
      : {}),
    // The client's timeout is longer, so that the server normally ends the statement first.
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    keepAlive: true,
    application_name: 'scheduler',
    types: { getTypeParser },
  });
  pool.on('error', (error) => log.debug({ err: error }, 'idle connection to PostgreSQL broke'));
  if (metrics !== undefined) observePool(pool, metrics);
  let closed: Promise<void> | undefined;

  // Connections of an earlier generation may lead to a former primary, where each of them would fail once.
  let generation = 0;
  const generationOf = new WeakMap<pg.PoolClient, number>();
  let astrayMs = Number.NEGATIVE_INFINITY;
  pool.on('connect', (client) => generationOf.set(client, generation));

  const beginGeneration = (): void => {
    const nowMs = performance.now();
    if (nowMs - astrayMs < DATABASE_ASTRAY_INTERVAL_MS) return;
    astrayMs = nowMs;
    generation++;
  };

  const take = async (): Promise<pg.PoolClient> => {
    for (;;) {
      const client = await pool.connect();
      if (generationOf.get(client) === generation) return client;
      client.release(true);
    }
  };

  return {
    async lend(use) {
      const client = await take();
      let spoilt: Error | undefined;
      // Without a listener, a connection that breaks between two statements would crash the process.
      const spoil = (error: Error): void => void (spoilt ??= error);
      client.on('error', spoil);
      try {
        return await use({
          spoil,
          get spoilt() {
            return spoilt !== undefined;
          },
          async query(query) {
            try {
              return await client.query(query);
            } catch (error) {
              if (isReadOnly(error) && generationOf.get(client) === generation) beginGeneration();
              // Unless the server refused the statement, the state of the connection is unknown.
              if (!(error instanceof pg.DatabaseError) || error.severity === 'FATAL') spoil(error as Error);
              // If the server has said why it closes the connection, that error tells more than the closed socket.
              throw spoilt instanceof pg.DatabaseError ? spoilt : error;
            }
          },
        });
      } finally {
        client.release(spoilt);
        client.off('error', spoil);
      }
    },
    close: () => (closed ??= closePool(Client, () => pool.end())),
  };
}

/** Returns whether the server refused to write: a standby, or a read-only primary. The statement had no effect. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '25006';
}

function observePool(pool: pg.Pool, metrics: Metrics): void {
  const { poolConnections } = metrics;
  onScrape(poolConnections, () => {
    poolConnections.set({ state: 'total' }, pool.totalCount);
    poolConnections.set({ state: 'idle' }, pool.idleCount);
    poolConnections.set({ state: 'waiting' }, pool.waitingCount);
  });
}

const INT8 = pg.types.builtins.INT8;
const JSON_OID = pg.types.builtins.JSON;

/** JSON stays text on the hot path. A bigint becomes a number, because places and counts fit a double. */
function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === JSON_OID) return (value) => value;
  if (oid === INT8) return Number;
  return pg.types.getTypeParser(oid, format) as (value: string) => unknown;
}
