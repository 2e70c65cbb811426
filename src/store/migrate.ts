import { setTimeout as delay } from 'node:timers/promises';
import { Migrator } from '@mikro-orm/migrations';
import { MikroORM } from '@mikro-orm/postgresql';
import { MIGRATION_LOCK_TIMEOUT_MS, MIGRATION_REPEAT_MS } from '../config/timings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type ConnectionSettings, createClientClass } from './connection.ts';
import { MIGRATIONS } from './migrations/index.ts';

const LOCK_REPEATS = 12;

/** Any constant will do; it only must not change, so that two versions exclude each other. */
const MIGRATION_LOCK = 7_281_964;

/**
 * Brings the schema up to date: one process at a time, all or nothing. A
 * statement that cannot get its lock gives up after 5 s, so that it does not
 * dam up the traffic behind it, and is tried again for about a minute.
 * @returns the names of the migrations that were run
 */
export async function migrate(settings: ConnectionSettings, log: Logger): Promise<string[]> {
  const Client = createClientClass(settings);
  const guard = new Client({ connectionTimeoutMillis: 10_000 });
  // Without a listener, a connection that breaks while it idles would end the process in the middle of the migration.
  guard.on('error', (error) => log.debug({ err: error }, 'connection that keeps other migrations away broke'));
  await guard.connect();
  try {
    // Held by a transaction, not by the session, so that a pooler in transaction mode keeps it on one connection.
    await guard.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
    await guard.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    return await migrateWithRepeats(settings, log);
  } finally {
    await guard.end();
  }
}

async function migrateWithRepeats(settings: ConnectionSettings, log: Logger): Promise<string[]> {
  for (let repeat = 1; ; repeat++) {
    try {
      return await migrateOnce(settings);
    } catch (error) {
      if (!isLockTimeout(error) || repeat === LOCK_REPEATS) throw error;
      log.warn({ repeat }, 'migration waits for a lock, trying again');
      await delay(MIGRATION_REPEAT_MS);
    }
  }
}

async function migrateOnce(settings: ConnectionSettings): Promise<string[]> {
  const orm = new MikroORM({
    clientUrl: settings.DATABASE_URL,
    driverOptions: { Client: createClientClass(settings) },
    entities: [],
    discovery: { warnWhenNoEntities: false },
    extensions: [Migrator],
    migrations: {
      migrationsList: MIGRATIONS,
      tableName: 'migrations',
      snapshot: false,
      transactional: true,
      allOrNothing: true,
    },
    logger: () => {},
  });
  try {
    const done = await orm.em.transactional(async (em) => {
      // Of the transaction, not of the session: poolers in transaction mode refuse the latter.
      await em
        .getConnection()
        .execute(`SET LOCAL lock_timeout = ${MIGRATION_LOCK_TIMEOUT_MS}`, [], 'run', em.getTransactionContext());
      return orm.migrator.up({ transaction: em.getTransactionContext() });
    });
    return done.map(({ name }) => name);
  } finally {
    await orm.close(true);
  }
}

function isLockTimeout(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as { code?: unknown }).code === '55P03') return true;
  }
  return false;
}
