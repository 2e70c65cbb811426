import { setTimeout as delay } from 'node:timers/promises';
import { Migrator } from '@mikro-orm/migrations';
import { IsolationLevel, MikroORM } from '@mikro-orm/postgresql';
import pg from 'pg';
import {
  MIGRATION_CONNECT_TIMEOUT_MS,
  MIGRATION_IDLE_IN_TRANSACTION_MS,
  MIGRATION_LOCK_TIMEOUT_MS,
  MIGRATION_REPEAT_MS,
  MIGRATION_WAIT_LOGGED_MS,
} from '../../config/timings.ts';
import { SchedulerError } from '../../core/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type ConnectionSettings, createClientClass } from '../connection/connection.ts';
import { CHECK_SERVER, checkSupport, type ServerFacts } from '../connection/server-check.ts';
import { searchPath, sessionSettings, setLocally } from '../connection/session.ts';
import { explained } from '../faults/explained-error.ts';
import { grantedRoles, grantsFor } from './app-role.ts';
import { MIGRATIONS } from './migrations/index.ts';

const REPEATS = 12;

export interface MigrateOptions {
  /**
   * Role that API, workers and reclaimer log in as, if it differs from the role that migrates. Roles that were given
   * before keep their rights, and get those on what is new.
   */
  readonly appRole?: string;
}

/**
 * Brings the schema up to date on one connection and in one transaction, so that either all migrations run or none. Only
 * one process migrates at a time. A statement that cannot get its lock gives up after 5 s, so that other statements do
 * not queue up behind it. The whole migration is then retried, for about a minute.
 * @returns the names of the migrations that were run
 * @throws SchedulerError `unsupported_database` or `unsafe_schema`
 */
export async function migrate(
  settings: ConnectionSettings,
  log: Logger,
  options: MigrateOptions = {},
): Promise<string[]> {
  for (let repeat = 1; ; repeat++) {
    try {
      return await migrateOnce(settings, log, options);
    } catch (error) {
      if (!isPassing(error) || repeat === REPEATS) throw explained(error);
      log.warn({ repeat }, 'migration could not get a lock, trying again');
      await delay(MIGRATION_REPEAT_MS);
    }
  }
}

type Execute = <Row extends object>(text: string) => Promise<Row[]>;

/** Runs everything in the caller's transaction, on its one connection. `Migrator` itself would use another one first. */
class TransactionMigrator extends Migrator {
  override async init(): Promise<void> {
    this.initialized = true;
  }
}

async function migrateOnce(settings: ConnectionSettings, log: Logger, { appRole }: MigrateOptions): Promise<string[]> {
  const orm = new MikroORM({
    clientUrl: settings.DATABASE_URL,
    pool: { max: 1 },
    driverOptions: {
      Client: createClientClass(settings),
      connectionTimeoutMillis: MIGRATION_CONNECT_TIMEOUT_MS,
      application_name: 'scheduler-migrate',
    },
    // The check would run outside the transaction.
    ensureDatabase: false,
    entities: [],
    discovery: { warnWhenNoEntities: false },
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
    return await orm.em.transactional(
      async (em) => {
        const transaction = em.getTransactionContext();
        const execute: Execute = (text) => em.getConnection().execute(text, [], 'all', transaction);
        const schema = await prepare(execute, settings, log);
        orm.config.set('schema', schema);
        const done = await new TransactionMigrator(orm.em).up({ transaction });
        await grantAll(execute, schema, { appRole, upgraded: done.length > 0, log });
        return done.map(({ name }) => name);
      },
      { isolationLevel: IsolationLevel.READ_COMMITTED },
    );
  } finally {
    await orm.close(true);
  }
}

/** Grants rights to the role that is given. After an upgrade, also to all roles that were given before. */
async function grantAll(
  execute: Execute,
  schema: string,
  { appRole, upgraded, log }: { appRole: string | undefined; upgraded: boolean; log: Logger },
): Promise<void> {
  const before = upgraded ? (await execute<{ role: string }>(grantedRoles(schema))).map(({ role }) => role) : [];
  for (const role of new Set([...before, ...(appRole === undefined ? [] : [appRole])])) {
    for (const grant of grantsFor(role, schema)) await execute(grant);
    log.info({ role }, 'the role has the rights that API, workers and reclaimer need');
  }
}

/**
 * Checks the server, finds or creates the schema and the table `migrations`, and locks the table against other
 * migrations. A role without rights on the table cannot take that lock, so it cannot block migrations.
 * @returns the name of the schema
 */
async function prepare(execute: Execute, settings: ConnectionSettings, log: Logger): Promise<string> {
  const { DATABASE_SCHEMA: wanted = '' } = settings;
  await execute(
    setLocally({
      // These settings are local to the transaction, because poolers in transaction mode refuse session settings.
      ...sessionSettings(wanted, 0),
      idle_in_transaction_session_timeout: String(MIGRATION_IDLE_IN_TRANSACTION_MS),
    }),
  );
  // `transaction_timeout` exists from PostgreSQL 17 on. A limit set for the database is not meant for migrations.
  await execute(`SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'`);
  const [facts] = await execute<ServerFacts>(CHECK_SERVER.text);
  if (facts !== undefined) checkSupport(facts);

  const schema = await findSchema(execute, wanted);
  const name = `${pg.escapeIdentifier(schema)}.migrations`;
  const [known] = await execute<{ exists: boolean }>(
    `SELECT to_regclass(${pg.escapeLiteral(name)}) IS NOT NULL AS exists`,
  );
  if (known?.exists !== true) {
    await execute(
      `CREATE TABLE ${name} (id serial PRIMARY KEY, name text NOT NULL, executed_at timestamptz NOT NULL DEFAULT now())`,
    );
  }
  const waiting = setTimeout(
    () => log.info('waiting for the lock of the table `migrations`: another migration may be under way'),
    MIGRATION_WAIT_LOGGED_MS,
  );
  try {
    await execute(`LOCK TABLE ${name} IN SHARE ROW EXCLUSIVE MODE`);
  } finally {
    clearTimeout(waiting);
  }
  await execute(setLocally({ lock_timeout: String(MIGRATION_LOCK_TIMEOUT_MS) }));
  return schema;
}

interface SchemaFacts {
  readonly name: string;
  readonly open: boolean;
}

/** Finds the wanted schema, and creates it if it is missing. Without one, uses the first schema of the search path. */
async function findSchema(execute: Execute, wanted: string): Promise<string> {
  const condition = wanted === '' ? 'n.nspname = current_schema()' : `n.nspname = ${pg.escapeLiteral(wanted)}`;
  const [found] = await execute<SchemaFacts>(`
    SELECT n.nspname::text AS name,
           EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE') AS open
    FROM pg_namespace n WHERE ${condition}`);
  if (found === undefined) {
    if (wanted !== '') {
      await execute(`CREATE SCHEMA ${pg.escapeIdentifier(wanted)}`);
      return wanted;
    }
    const [path] = await execute<{ search_path: string }>('SHOW search_path');
    throw new SchedulerError(
      'unsupported_database',
      `no schema of the connection's search_path exists (${path?.search_path}); ` +
        'create one, or set DATABASE_SCHEMA to the name of a schema, which the migration then creates',
    );
  }
  const name = pg.escapeIdentifier(found.name);
  if (found.open) {
    throw new SchedulerError(
      'unsafe_schema',
      `every role may create objects in the schema ${name}, and could make the scheduler run them; ` +
        `REVOKE CREATE ON SCHEMA ${name} FROM PUBLIC, or set DATABASE_SCHEMA to a separate schema`,
    );
  }
  await execute(setLocally(searchPath(found.name)));
  return found.name;
}

/** Returns whether another session holds a lock, or another process has just created the schema or the table. */
function isPassing(error: unknown): boolean {
  const codes = ['55P03', '40P01', '23505', '42P06', '42P07'];
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (codes.includes(String((cause as { code?: unknown }).code))) return true;
  }
  return false;
}
