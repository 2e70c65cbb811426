import type { Config } from '../config/env.ts';
import { FIRST_CONTACT_WAIT_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { untilEnded, pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import { awaitDatabase } from '../postgres/await-database.ts';
import type { DatabaseClock } from '../postgres/database-clock.ts';
import type { Database } from '../postgres/database.ts';
import type { Logger } from '../telemetry/logger.ts';

/** Waits for PostgreSQL, checks it, and reads its clock. */
export interface DatabaseContact extends Service {
  /** Milliseconds since 1970 by PostgreSQL's clock. @throws StoreUnavailableError before the first contact */
  nowMs(): number;
  /** Rejects when PostgreSQL is reachable but must not be used. */
  readonly failed: Promise<never>;
}

export interface DatabaseContactOptions {
  readonly database: Database;
  readonly clock: DatabaseClock;
  readonly config: Pick<Config, 'DATABASE_ALLOW_UNSAFE_DURABILITY' | 'DATABASE_PREPARED_STATEMENTS'>;
  readonly onContact: () => void;
  readonly log: Logger;
}

export function createDatabaseContact({
  database,
  clock,
  config,
  onContact,
  log,
}: DatabaseContactOptions): DatabaseContact {
  const stopping = new AbortController();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  let reached = false;
  let reaching: Promise<void> | undefined;

  const reach = async (): Promise<void> => {
    reached = await awaitDatabase(database, config, log, stopping.signal, clock.start);
    if (reached) onContact();
  };

  return {
    name: 'database-contact',
    failed: failure.promise,
    async start() {
      if (reaching !== undefined) return;
      reaching = reach();
      reaching.catch(failure.reject);
      // The start waits only briefly, so that the probes of an unready process are answered while PostgreSQL is away.
      await Promise.race([reaching, pause(FIRST_CONTACT_WAIT_MS, stopping.signal)]);
    },
    async stop() {
      stopping.abort();
      await untilEnded(reaching?.catch(() => {}));
      await clock.stop();
    },
    nowMs() {
      if (!reached) throw new StoreUnavailableError('postgresql', new Error('it has not answered yet'));
      return clock.nowMs();
    },
  };
}
