import { makeWorkerUtils } from 'graphile-worker';
import pg from 'pg';
import { serve } from './server.ts';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'] ?? '', max: 20 });
pool.on('error', (error) => console.error(error));
// graphile-worker warns about a pool whose clients have no error listener.
pool.on('connect', (client) => client.on('error', () => {}));
const worker = await makeWorkerUtils({ pgPool: pool });
serve((note) => worker.addJob('note', note));
