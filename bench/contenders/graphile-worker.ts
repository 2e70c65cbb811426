import { join } from 'node:path';
import { makeWorkerUtils, runMigrations } from 'graphile-worker';
import pg from 'pg';
import { inBatches, type ContenderKind } from '../contender.ts';
import { TEXT } from '../note.ts';
import { startProcess } from '../processes.ts';
import { packageVersion, whyNoPackage, workerFile } from './packages.ts';
import { startPeerService, type RunningService } from './service.ts';

const NO_OP_SLOTS = 24;

/** Jobs have priority 0 otherwise, and a smaller number comes first. */
const BACKGROUND = { priority: 10 };

/** @param batched whether it uses its local queue and batched completion, which are off by default */
export function graphileWorker(batched: boolean): ContenderKind {
  return {
    name: batched ? 'graphile-worker (batched)' : 'graphile-worker',
    settings: batched
      ? `concurrency ${NO_OP_SLOTS}, local queue of 500, completions batched without delay; finished jobs are deleted`
      : `concurrency ${NO_OP_SLOTS}; finished jobs are deleted`,
    isSlow: !batched,
    unavailable: () => whyNoPackage('graphile-worker'),
    version: () => packageVersion('graphile-worker'),

    async open(arena) {
      const { stores, tally, directory } = arena;
      const services: RunningService[] = [];
      const databaseUrl = await stores.freshDatabase('graphile', (url) => runMigrations({ connectionString: url }));
      const pool = new pg.Pool({ connectionString: databaseUrl, max: 10 });
      pool.on('error', () => {});
      // graphile-worker warns about a pool whose clients have no error listener.
      pool.on('connect', (client) => client.on('error', () => {}));
      const worker = await makeWorkerUtils({ pgPool: pool });
      const noteOf = (n: number, sleepMs: number, text = TEXT) => ({
        identifier: 'note',
        payload: { n, sleep_ms: sleepMs, text },
      });
      return {
        databaseUrl,
        submitOne: async (n) => void (await worker.addJob('note', noteOf(n, 0).payload)),
        submitMany: (load) =>
          inBatches(load, (numbers) =>
            worker.addJobs(
              numbers.map((n) => ({
                ...noteOf(n, load.sleepMs, load.text),
                ...(load.background === true ? BACKGROUND : {}),
              })),
            ),
          ),
        async startService() {
          const running = await startPeerService(arena, 'graphile-worker', { DATABASE_URL: databaseUrl });
          services.push(running);
          return running.service;
        },
        async startWorkers({ processes, slots }) {
          const workers = await Promise.all(
            Array.from({ length: processes }, () =>
              startProcess({
                command: [process.execPath, workerFile('graphile-worker')],
                env: {
                  DATABASE_URL: databaseUrl,
                  BENCH_SLOTS: String(slots ?? NO_OP_SLOTS),
                  BENCH_BATCHED: String(batched),
                  BENCH_TALLY: tally.path,
                },
                isReady: (line) => line === 'ready',
                log: join(directory, 'graphile-worker.log'),
              }),
            ),
          );
          return {
            pids: workers.map(({ pid }) => pid),
            stop: async () => void (await Promise.all(workers.map((one) => one.stop()))),
          };
        },
        async unfinished() {
          const [row] = await stores.query<{ count: string }>(
            databaseUrl,
            'SELECT count(*) FROM graphile_worker._private_jobs',
          );
          return Number(row?.count);
        },
        finished: async () => null,
        async close() {
          for (const { process } of services) await process.stop();
          await worker.release();
          await pool.end();
        },
      };
    },
  };
}
