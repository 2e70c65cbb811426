import { join } from 'node:path';
import { PgBoss } from 'pg-boss';
import { inBatches, type ContenderKind } from '../contender.ts';
import { TEXT } from '../note.ts';
import { startProcess } from '../processes.ts';
import { packageVersion, whyNoPackage, workerFile } from './packages.ts';
import { startPeerService, type RunningService } from './service.ts';

const NO_OP_SLOTS = 2_000;

/** Jobs have priority 0 otherwise, and a larger number comes first. */
const BACKGROUND = { priority: -10 };

export const pgBoss: ContenderKind = {
  name: 'pg-boss',
  settings: `batches of ${NO_OP_SLOTS / 4} in 4 lanes, burst while batches are full`,
  unavailable: () => whyNoPackage('pg-boss'),
  version: () => packageVersion('pg-boss'),

  async open(arena) {
    const { stores, tally, directory } = arena;
    const services: RunningService[] = [];
    const databaseUrl = await stores.freshDatabase('pgboss', async (url) => {
      const boss = new PgBoss(url);
      boss.on('error', () => {});
      await boss.start();
      await boss.createQueue('note', { notify: true });
      await boss.stop({ graceful: false });
    });
    const boss = new PgBoss({
      connectionString: databaseUrl,
      max: 10,
      supervise: false,
      schedule: false,
      migrate: false,
    });
    boss.on('error', (error) => console.error(error.message));
    await boss.start();
    const count = async (condition: string): Promise<number> => {
      const [row] = await stores.query<{ count: string }>(
        databaseUrl,
        `SELECT count(*) FROM pgboss.job WHERE name = 'note' AND ${condition}`,
      );
      return Number(row?.count);
    };
    return {
      databaseUrl,
      submitOne: async (n) => void (await boss.send('note', { n, sleep_ms: 0, text: TEXT })),
      submitMany: (load) =>
        inBatches(load, (numbers) =>
          boss.insert(
            'note',
            numbers.map((n) => ({
              data: { n, sleep_ms: load.sleepMs, text: load.text ?? TEXT },
              ...(load.background === true ? BACKGROUND : {}),
            })),
          ),
        ),
      async startService() {
        const running = await startPeerService(arena, 'pg-boss', { DATABASE_URL: databaseUrl });
        services.push(running);
        return running.service;
      },
      async startWorkers({ processes, slots }) {
        const workers = await Promise.all(
          Array.from({ length: processes }, () =>
            startProcess({
              command: [process.execPath, workerFile('pg-boss')],
              env: { DATABASE_URL: databaseUrl, BENCH_SLOTS: String(slots ?? NO_OP_SLOTS), BENCH_TALLY: tally.path },
              isReady: (line) => line === 'ready',
              log: join(directory, 'pg-boss.log'),
            }),
          ),
        );
        return {
          pids: workers.map(({ pid }) => pid),
          stop: async () => void (await Promise.all(workers.map((worker) => worker.stop()))),
        };
      },
      unfinished: () => count(`state < 'completed'`),
      finished: () => count(`state = 'completed'`),
      async close() {
        for (const { process } of services) await process.stop();
        await boss.stop({ graceful: false });
      },
    };
  },
};
