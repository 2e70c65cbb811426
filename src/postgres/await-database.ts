import type { Config } from '../config/env.ts';
import { STORE_RETRY_MAX_MS, STORE_RETRY_MIN_MS } from '../config/timings.ts';
import { SchedulerError, StoreUnavailableError } from '../core/errors.ts';
import { pause } from '../lifecycle/loop.ts';
import type { Logger } from '../telemetry/logger.ts';
import { checkServer } from './connection/server-check.ts';
import type { Database } from './database.ts';
import { loadSql } from './sql.ts';

const PROBE_SCHEMA = loadSql(import.meta.dirname, 'probe-schema');

/**
 * Waits until PostgreSQL answers, its durability settings are safe and the schema exists, because a process may start
 * before all of that. Returns early when the signal fires.
 * @param thenDo a further step that has to succeed as well
 * @returns true when everything succeeded, false when the signal fired first
 * @throws SchedulerError `unsafe_database` or `unsupported_database`
 */
export async function awaitDatabase(
  database: Database,
  config: Pick<Config, 'DATABASE_ALLOW_UNSAFE_DURABILITY' | 'DATABASE_PREPARED_STATEMENTS'>,
  log: Logger,
  signal: AbortSignal,
  thenDo: () => Promise<void> = async () => {},
): Promise<boolean> {
  for (let retryMs = STORE_RETRY_MIN_MS; !signal.aborted; retryMs = Math.min(STORE_RETRY_MAX_MS, retryMs * 2)) {
    try {
      await checkServer(database, config);
      await database.run(PROBE_SCHEMA, []);
      await thenDo();
      return true;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) {
        if (error instanceof SchedulerError) throw error;
        log.warn({ err: error }, 'database is not usable yet');
      }
      await pause(retryMs, signal);
    }
  }
  return false;
}
