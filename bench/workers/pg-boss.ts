import { PgBoss } from 'pg-boss';
import { work, type Note } from '../note.ts';

const LANES = 4;
const boss = new PgBoss({
  connectionString: process.env['DATABASE_URL'] ?? '',
  max: 10,
  schedule: false,
  migrate: false,
  useListenNotify: true,
});
boss.on('error', (error) => console.error(error));
await boss.start();
const options = {
  batchSize: Number(process.env['BENCH_SLOTS']) / LANES,
  localConcurrency: LANES,
  pollingIntervalSeconds: 0.5,
  burstWhenBatchFull: true,
};
await boss.work<Note>('note', options, async (jobs) => {
  await Promise.all(jobs.map(async ({ data }) => work(data)));
});
console.log('ready');
process.once('SIGTERM', () => void boss.stop({ graceful: false }).then(() => process.exit()));
