import { join } from 'node:path';
import { Queue } from 'bullmq';
import { inBatches, type ContenderKind } from '../contender.ts';
import { TEXT, type Note } from '../note.ts';
import { startProcess } from '../processes.ts';
import { packageVersion, whyNoPackage, workerFile } from './packages.ts';
import { startPeerService, type RunningService } from './service.ts';

const NO_OP_SLOTS = 100;

/** Jobs without a priority come before all others. */
const BACKGROUND = { opts: { priority: 10 } };

export const bullmq: ContenderKind = {
  name: 'BullMQ',
  settings: `concurrency ${NO_OP_SLOTS}; finished jobs kept, as is its default`,
  unavailable: () => whyNoPackage('bullmq'),
  version: () => packageVersion('bullmq'),

  async open(arena) {
    const { stores, tally, directory } = arena;
    const services: RunningService[] = [];
    const { hostname: host, port, password } = new URL(stores.redisUrl);
    const queue = new Queue<Note>('bench', { connection: { host, port: Number(port), password } });
    const noteOf = (n: number, sleepMs: number, text = TEXT): Note => ({ n, sleep_ms: sleepMs, text });
    return {
      databaseUrl: null,
      submitOne: async (n) => void (await queue.add('note', noteOf(n, 0))),
      submitMany: (load) =>
        inBatches(load, (numbers) =>
          queue.addBulk(
            numbers.map((n) => ({
              name: 'note',
              data: noteOf(n, load.sleepMs, load.text),
              ...(load.background === true ? BACKGROUND : {}),
            })),
          ),
        ),
      async startService() {
        const running = await startPeerService(arena, 'bullmq', { REDIS_URL: stores.redisUrl });
        services.push(running);
        return running.service;
      },
      async startWorkers({ processes, slots }) {
        const workers = await Promise.all(
          Array.from({ length: processes }, () =>
            startProcess({
              command: [process.execPath, workerFile('bullmq')],
              env: { REDIS_URL: stores.redisUrl, BENCH_SLOTS: String(slots ?? NO_OP_SLOTS), BENCH_TALLY: tally.path },
              isReady: (line) => line === 'ready',
              log: join(directory, 'bullmq.log'),
            }),
          ),
        );
        return {
          pids: workers.map(({ pid }) => pid),
          stop: async () => void (await Promise.all(workers.map((worker) => worker.stop()))),
        };
      },
      unfinished: async () => {
        const counts = await queue.getJobCounts('wait', 'active', 'delayed', 'prioritized');
        return Object.values(counts).reduce((sum, count) => sum + count, 0);
      },
      finished: () => queue.getCompletedCount(),
      async close() {
        for (const { process } of services) await process.stop();
        await queue.close();
      },
    };
  },
};
