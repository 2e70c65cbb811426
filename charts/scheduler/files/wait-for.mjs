// wait-for.mjs database | schema: ends as soon as PostgreSQL answers, or has every migration of this image.
// Runs in the image's directory, on its packages. A newer schema is fine: migrations only add for one version.
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';

const PAUSE_MS = 500;
const REPORT_EVERY_MS = 10_000;

const wantsSchema = process.argv.at(-1) === 'schema';
const wanted = wantsSchema ? await migrationsOfImage() : [];
let reportedMs = -REPORT_EVERY_MS;

for (;;) {
  const missing = await lookForMissing();
  if (missing === '') break;
  if (performance.now() - reportedMs >= REPORT_EVERY_MS) {
    reportedMs = performance.now();
    console.log(JSON.stringify({ level: 'info', msg: 'waiting for PostgreSQL', missing }));
  }
  await delay(PAUSE_MS);
}

async function migrationsOfImage() {
  // An image for development runs the sources.
  const list = ['dist/store/migrations/index.js', 'src/store/migrations/index.ts'].find((path) => existsSync(path));
  const { MIGRATIONS } = await import(pathToFileURL(list).href);
  return MIGRATIONS.map(({ name }) => name);
}

async function lookForMissing() {
  const client = new pg.Client({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 3_000, query_timeout: 3_000 });
  // Without a listener, a connection that breaks would end the process.
  client.on('error', () => {});
  try {
    await client.connect();
    if (!wantsSchema) return '';
    const { rows } = await client.query('SELECT name FROM migrations');
    const done = new Set(rows.map(({ name }) => name));
    return wanted.filter((name) => !done.has(name)).join(', ');
  } catch (error) {
    return error.message || error.code || String(error);
  } finally {
    await client.end().catch(() => {});
  }
}
