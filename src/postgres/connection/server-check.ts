import type { Config } from '../../config/env.ts';
import { SchedulerError } from '../../core/errors.ts';
import type { Database } from '../database.ts';
import { loadSql } from '../sql.ts';

/** The row that `check-server.sql` returns. */
export interface ServerFacts {
  readonly version: number;
  readonly encoding: string;
  readonly fsync: string;
  readonly synchronous_commit: string;
  readonly plan_cache_mode: string;
}

export const CHECK_SERVER = loadSql(import.meta.dirname, 'check-server');

type CheckSettings = Pick<Config, 'DATABASE_ALLOW_UNSAFE_DURABILITY' | 'DATABASE_PREPARED_STATEMENTS'>;

/**
 * Refuses a server that is too old, that cannot store every text, or that may lose committed data.
 * @throws SchedulerError `unsafe_database` or `unsupported_database`
 */
export async function checkServer(database: Database, settings: CheckSettings): Promise<void> {
  const [facts] = await database.run<ServerFacts>(CHECK_SERVER, []);
  if (facts === undefined) return;
  checkSupport(facts);
  checkSession(facts, settings);
  if (!settings.DATABASE_ALLOW_UNSAFE_DURABILITY) checkDurability(facts);
}

/** @throws SchedulerError `unsupported_database` */
export function checkSupport({ version, encoding }: Pick<ServerFacts, 'version' | 'encoding'>): void {
  if (version < 150_000) {
    throw unsupported(`PostgreSQL 15 or newer is expected; given ${Math.floor(version / 10_000)}`);
  }
  // Other encodings cannot store every text, or have no notion of a character (SQL_ASCII).
  if (encoding !== 'UTF8') {
    throw unsupported(
      `a database with the encoding UTF8 is expected; given ${encoding}. ` +
        `An encoding cannot be changed: make a new database with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
}

/** Detects a pooler that accepts session settings but drops them (PgBouncer: `ignore_startup_parameters = options`). */
function checkSession({ plan_cache_mode: mode }: ServerFacts, settings: CheckSettings): void {
  if (mode === 'force_custom_plan') return;
  throw unsupported(
    settings.DATABASE_PREPARED_STATEMENTS
      ? 'the session settings do not reach PostgreSQL, because a pooler drops them: set DATABASE_PREPARED_STATEMENTS=false'
      : 'settings are lost within a transaction, because the connection goes through a pooler in statement mode: use transaction mode',
  );
}

function checkDurability({ fsync, synchronous_commit: commit }: ServerFacts): void {
  const unsafe = [fsync === 'off' ? 'fsync=off' : '', commit === 'off' ? 'synchronous_commit=off' : ''].filter(Boolean);
  if (unsafe.length === 0) return;
  throw new SchedulerError(
    'unsafe_database',
    `PostgreSQL runs with ${unsafe.join(' and ')}, so a crash loses tasks that were accepted; ` +
      'switch it on, or set DATABASE_ALLOW_UNSAFE_DURABILITY=true',
  );
}

function unsupported(message: string): SchedulerError {
  return new SchedulerError('unsupported_database', message);
}
