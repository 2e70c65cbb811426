import pg from 'pg';
import {
  DATABASE_IDLE_IN_TRANSACTION_MS,
  DATABASE_KEEPALIVE_SECONDS,
  DATABASE_SILENT_CLIENT_MS,
  STATEMENT_TIMEOUT_MS,
} from '../config/timings.ts';

/** Settings of PostgreSQL by name, as its `SET` takes them. */
export type SessionSettings = Readonly<Record<string, string>>;

/**
 * What our statements depend on, whatever server, database and role have as their defaults. Left to these are
 * `synchronous_commit` (checked at the start, and may be more than `on`), `default_transaction_read_only` (how operators
 * and clouds stop all writers; it counts as an outage) and costs and memory of the planner.
 * @param schema where our tables are; empty leaves that to the connection
 */
export function sessionSettings(schema: string, statementTimeoutMs = STATEMENT_TIMEOUT_MS): SessionSettings {
  return {
    ...searchPath(schema),
    ...TEXT_FORMATS,
    ...PLANNER_SETTINGS,
    statement_timeout: String(statementTimeoutMs),
    lock_timeout: '0',
    // A process that is frozen, or a node that vanished, must not hold its locks for longer than this.
    idle_in_transaction_session_timeout: String(DATABASE_IDLE_IN_TRANSACTION_MS),
    tcp_user_timeout: String(DATABASE_SILENT_CLIENT_MS),
  };
}

/** Temporary objects come last, or one could take the place of a table of ours. */
export function searchPath(schema: string): SessionSettings {
  return schema === '' ? {} : { search_path: `${pg.escapeIdentifier(schema)}, pg_temp` };
}

/** How values are written and read. */
const TEXT_FORMATS: SessionSettings = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
};

/**
 * A plan that is kept was made for other ids and another size: every day begins with an empty partition, of which any
 * way of reading looks cheap. Planning anew leaves out the partitions of other days, and costs a batch next to nothing.
 * No machine code: the planner's guess at a large day is dear enough for it, and making it takes longer than the statement.
 * Switched on is what our statements are written for.
 */
const PLANNER_SETTINGS: SessionSettings = {
  plan_cache_mode: 'force_custom_plan',
  jit: 'off',
  enable_indexscan: 'on',
  enable_indexonlyscan: 'on',
  enable_nestloop: 'on',
  enable_partition_pruning: 'on',
};

/** Only where the session is ours alone: a pooler looks after its own connections. */
const OWN_SESSION: SessionSettings = {
  default_transaction_isolation: 'read committed',
  idle_session_timeout: '0',
  // A connection whose node vanished would else keep its place for hours.
  tcp_keepalives_idle: String(DATABASE_KEEPALIVE_SECONDS),
  tcp_keepalives_interval: String(DATABASE_KEEPALIVE_SECONDS),
  tcp_keepalives_count: '3',
};

/** For the start-up message of a session that is ours alone, in libpq's form. */
export function startUpOptions(settings: SessionSettings): string {
  return Object.entries({ ...settings, ...OWN_SESSION })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\\s]/g, String.raw`\$&`)}`)
    .join(' ');
}

/** Begins a transaction with these settings, which end with it. */
export function beginWith(settings: SessionSettings): string {
  return `BEGIN ISOLATION LEVEL READ COMMITTED; ${setLocally(settings)}`;
}

/** Sets them for the rest of a transaction. */
export function setLocally(settings: SessionSettings): string {
  const calls = Object.entries(settings).map(
    ([name, value]) => `pg_catalog.set_config('${name}', ${pg.escapeLiteral(value)}, true)`,
  );
  return `SELECT ${calls.join(', ')}`;
}
