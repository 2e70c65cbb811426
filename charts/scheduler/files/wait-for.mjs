// wait-for.mjs database | schema HINT: ends as soon as PostgreSQL answers, or has every migration of this image. The hint says
// how to look at the migrations.
// Runs in the image's directory, on its packages. A newer schema is fine: migrations only add for one version.
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';

const UNDEFINED_TABLE = '42P01';
const MIGRATION_LISTS = ['dist/postgres/schema/migrations/index.js', 'src/postgres/schema/migrations/index.ts'];
const PAUSE_MS = 500;
const REPORT_EVERY_MS = 10_000;

const wantsSchema = process.argv.includes('schema');
const hint = wantsSchema ? process.argv.at(-1) : undefined;
const wanted = wantsSchema ? await migrationsOfImage() : [];
let reportedMs = -REPORT_EVERY_MS;

for (;;) {
  const waiting = await lookForMissing();
  if (waiting === null) break;
  if (performance.now() - reportedMs >= REPORT_EVERY_MS) {
    reportedMs = performance.now();
    console.log(JSON.stringify({ level: 'info', ...waiting }));
  }
  await delay(PAUSE_MS);
}

async function migrationsOfImage() {
  // An image for development runs the sources.
  const list = MIGRATION_LISTS.find((path) => existsSync(path));
  if (list === undefined) throw new Error(`this image has none of ${MIGRATION_LISTS.join(', ')}`);
  const { MIGRATIONS } = await import(pathToFileURL(list).href);
  return MIGRATIONS.map(({ name }) => name);
}

/** A Secret that is mounted may change while we wait. */
function databaseUrl() {
  const file = process.env.DATABASE_URL_FILE;
  return file ? readFileSync(file, 'utf8').trim() : process.env.DATABASE_URL;
}

/** Without a schema of choice, the connection's search path finds it. */
function migrationsTable() {
  const schema = process.env.DATABASE_SCHEMA;
  return schema ? `${pg.escapeIdentifier(schema)}.migrations` : 'migrations';
}

function waitingForMigrations(missing) {
  return missing.length === 0 ? null : { msg: 'waiting for the migrations', missing: missing.join(', '), look: hint };
}

/** Null when nothing is missing. */
async function lookForMissing() {
  let client;
  try {
    client = new pg.Client({ connectionString: databaseUrl(), connectionTimeoutMillis: 3_000, query_timeout: 3_000 });
  } catch (error) {
    return { msg: 'the URL of PostgreSQL cannot be read', missing: error.code ?? 'it is no URL' };
  }
  // Without a listener, a connection that breaks would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    if (!wantsSchema) return null;
    const { rows } = await client.query(`SELECT name FROM ${migrationsTable()}`);
    const done = new Set(rows.map(({ name }) => name));
    return waitingForMigrations(wanted.filter((name) => !done.has(name)));
  } catch (error) {
    if (error.code === UNDEFINED_TABLE) return waitingForMigrations(wanted);
    return { msg: 'waiting for PostgreSQL', missing: error.message || error.code || String(error) };
  } finally {
    await client.end().catch(() => {});
  }
}
