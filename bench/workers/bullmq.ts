import { Worker } from 'bullmq';
import { work, type Note } from '../note.ts';

const { hostname: host, port, password } = new URL(process.env['REDIS_URL'] ?? '');
const worker = new Worker<Note>('bench', async ({ data }) => work(data), {
  connection: { host, port: Number(port), password },
  concurrency: Number(process.env['BENCH_SLOTS']),
});
worker.on('error', (error) => console.error(error));
await worker.waitUntilReady();
console.log('ready');
process.once('SIGTERM', () => void worker.close().then(() => process.exit()));
