import { PgBoss } from 'pg-boss';
import { serve } from './server.ts';

const boss = new PgBoss({
  connectionString: process.env['DATABASE_URL'] ?? '',
  max: 20,
  supervise: false,
  schedule: false,
  migrate: false,
});
boss.on('error', (error) => console.error(error));
await boss.start();
serve(async (note) => ({ id: await boss.send('note', note) }));
