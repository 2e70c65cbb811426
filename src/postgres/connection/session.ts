import pg from 'pg';
import {
  DATABASE_IDLE_IN_TRANSACTION_MS,
  DATABASE_KEEPALIVE_SECONDS,
  DATABASE_SILENT_CLIENT_MS,
  STATEMENT_TIMEOUT_MS,
} from '../../config/timings.ts';

/** PostgreSQL settings by name, with values in the form of `SET`. */
export type SessionSettings = Readonly<Record<string, string>>;

/**
 * Returns the settings that our statements depend on. They override the defaults of server, database and role. Three
 * kinds keep their defaults: `synchronous_commit` (the start checks it, and it may be stronger than `on`),
 * `default_transaction_read_only` (operators and clouds use it to stop all writers; it counts as an outage), and the
 * planner's costs and memory.
 * @param schema the schema of our tables; if empty, the connection's own search path applies
 */
export function sessionSettings(schema: string, statementTimeoutMs = STATEMENT_TIMEOUT_MS): SessionSettings {
  return {
    ...searchPath(schema),
    ...TEXT_FORMATS,
    ...PLANNER_SETTINGS,
    statement_timeout: String(statementTimeoutMs),
    lock_timeout: '0',
    // A frozen process or a node that vanished must not hold its locks for longer than this.
    idle_in_transaction_session_timeout: String(DATABASE_IDLE_IN_TRANSACTION_MS),
    tcp_user_timeout: String(DATABASE_SILENT_CLIENT_MS),
  };
}

/** Puts temporary objects last, so that a temporary object cannot hide one of our tables. */
export function searchPath(schema: string): SessionSettings {
  return schema === '' ? {} : { search_path: `${pg.escapeIdentifier(schema)}, pg_temp` };
}

/** Text formats of values. */
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
 * A cached plan was made for other ids and another table size: every day begins with an empty partition, where any way
 * of reading looks cheap. A new plan for each statement leaves out the partitions of other days, and costs a batch next
 * to nothing. JIT compilation is off: the planner's estimate for a large day is high enough to trigger it, and compiling
 * takes longer than the statement. The plan types that are switched on are those our statements are written for.
 */
const PLANNER_SETTINGS: SessionSettings = {
  plan_cache_mode: 'force_custom_plan',
  jit: 'off',
  enable_indexscan: 'on',
  enable_indexonlyscan: 'on',
  enable_nestloop: 'on',
  enable_partition_pruning: 'on',
};

/** Settings for sessions without a pooler; a pooler manages its own connections. */
const OWN_SESSION: SessionSettings = {
  default_transaction_isolation: 'read committed',
  idle_session_timeout: '0',
  // Without keepalives, a connection whose node vanished would stay open for hours.
  tcp_keepalives_idle: String(DATABASE_KEEPALIVE_SECONDS),
  tcp_keepalives_interval: String(DATABASE_KEEPALIVE_SECONDS),
  tcp_keepalives_count: '3',
};

/** Formats the settings as libpq `options` for the start-up message of a session without a pooler. */
export function startUpOptions(settings: SessionSettings): string {
  return Object.entries({ ...settings, ...OWN_SESSION })
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\\s]/g, String.raw`\$&`)}`)
    .join(' ');
}

/** Returns the statements that begin a transaction with these settings. The settings end with the transaction. */
export function beginWith(settings: SessionSettings): string {
  return `BEGIN ISOLATION LEVEL READ COMMITTED; ${setLocally(settings)}`;
}

/** Returns the statement that makes these settings for the rest of the transaction. */
export function setLocally(settings: SessionSettings): string {
  const calls = Object.entries(settings).map(
    ([name, value]) => `pg_catalog.set_config('${name}', ${pg.escapeLiteral(value)}, true)`,
  );
  return `SELECT ${calls.join(', ')}`;
}
