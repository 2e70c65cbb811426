import { Logger, run } from 'graphile-worker';
import { work, type Note } from '../note.ts';

const concurrentJobs = Number(process.env['BENCH_SLOTS']);
const batched = process.env['BENCH_BATCHED'] === 'true';
const runner = await run({
  logger: new Logger(() => (level, message) => level === 'error' && console.error(message)),
  taskList: { note: (payload) => work(payload as Note) },
  preset: {
    worker: {
      connectionString: process.env['DATABASE_URL'] ?? '',
      concurrentJobs,
      maxPoolSize: 10,
      pollInterval: 2_000,
      ...(batched
        ? { localQueue: { size: Math.max(500, concurrentJobs + 1) }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
        : {}),
    },
  },
});
console.log('ready');
process.once('SIGTERM', () => void runner.stop().then(() => process.exit()));
