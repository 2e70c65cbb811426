import { randomUUID } from 'node:crypto';
import { bodyParser } from '@koa/bodyparser';
import Koa from 'koa';
import pg from 'pg';

/** The obvious first implementation: one durable INSERT per request. */
const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 20 });
await pool.query(
  'CREATE TABLE IF NOT EXISTS submitted (id uuid PRIMARY KEY, payload json NOT NULL, created_at timestamptz NOT NULL DEFAULT now())',
);
const app = new Koa();
app.use(bodyParser());
app.use(async (ctx) => {
  const { payload } = ctx.request.body as { payload: unknown };
  const id = randomUUID();
  await pool.query({
    name: 'insert',
    text: 'INSERT INTO submitted (id, payload) VALUES ($1, $2)',
    values: [id, JSON.stringify(payload)],
  });
  ctx.body = { id, payload };
});
const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address())));
process.once('SIGTERM', () => process.exit());
