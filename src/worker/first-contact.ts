import type { Config } from '../config/env.ts';
import { STORE_RETRY_MAX_MS, STORE_RETRY_MIN_MS } from '../config/timings.ts';
import { SchedulerError, StoreUnavailableError } from '../core/errors.ts';
import { pause } from '../lifecycle/loop.ts';
import { checkServer, type Database } from '../store/database.ts';
import { loadQueueSettings } from '../store/queue-settings.ts';
import type { Logger } from '../telemetry/logger.ts';

/**
 * Waits until PostgreSQL answers, its durability is in order and the schema is
 * there; a worker may well be up before both. Returns early when the signal fires.
 * @throws SchedulerError `unsafe_database` or `unsupported_database`
 */
export async function awaitDatabase(
  database: Database,
  config: Pick<Config, 'DATABASE_ALLOW_UNSAFE_DURABILITY' | 'WORKER_QUEUES'>,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (let retryMs = STORE_RETRY_MIN_MS; !signal.aborted; retryMs = Math.min(STORE_RETRY_MAX_MS, retryMs * 2)) {
    try {
      await checkServer(database, config.DATABASE_ALLOW_UNSAFE_DURABILITY);
      await loadQueueSettings(database, config.WORKER_QUEUES);
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) {
        if (error instanceof SchedulerError) throw error;
        log.warn({ err: error }, 'database is not usable yet');
      }
      await pause(retryMs, signal);
    }
  }
}
