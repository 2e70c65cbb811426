import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContenderKind } from '../contender.ts';
import { TEXT } from '../note.ts';
import { startProcess, type ProcessRecipe } from '../processes.ts';

const SOURCE = join(import.meta.dirname, '..', 'river');
const BINARY = join(import.meta.dirname, '..', '..', '.local', 'bench', 'river');
const NO_OP_SLOTS = 2_000;

let problem: string | null | undefined;

function build(): string | null {
  if (spawnSync('go', ['version']).status !== 0) return 'Go is not installed';
  mkdirSync(join(BINARY, '..'), { recursive: true });
  const { status, stderr } = spawnSync('go', ['build', '-o', BINARY, '.'], { cwd: SOURCE, encoding: 'utf8' });
  return status === 0 ? null : `it does not build: ${stderr}`;
}

export const river: ContenderKind = {
  name: 'River',
  settings: `${NO_OP_SLOTS} workers, fetch cooldown 1 ms, InsertManyFast`,
  unavailable: () => (problem ??= build()),
  version: () => /riverqueue\/river v(\S+)/.exec(readFileSync(join(SOURCE, 'go.mod'), 'utf8'))?.[1] ?? 'unknown',

  async open({ stores, tally, directory }) {
    const log = join(directory, 'river.log');
    const databaseUrl = await stores.freshDatabase('river', async (url) => {
      const { status, stderr } = spawnSync(BINARY, ['migrate'], { env: { DATABASE_URL: url }, encoding: 'utf8' });
      if (status !== 0) throw new Error(`migration of River failed: ${stderr}`);
    });
    const recipe = (command: string, env: ProcessRecipe['env']): ProcessRecipe => ({
      command: [BINARY, command],
      env: { DATABASE_URL: databaseUrl, ...env },
      isReady: (line) => line === 'ready',
      log,
    });
    const inserter = await startProcess(recipe('insert', {}));
    const insert = async (words: readonly number[], text = TEXT): Promise<void> =>
      void (await inserter.ask(`${words.join(' ')} ${text}`));
    const count = async (condition: string): Promise<number> => {
      const [row] = await stores.query<{ count: string }>(
        databaseUrl,
        `SELECT count(*) FROM river_job WHERE ${condition}`,
      );
      return Number(row?.count);
    };
    return {
      databaseUrl,
      submitOne: (n) => insert([n, 1, 1, 1, 0]),
      submitMany: ({ from, count: number, lanes, batch, sleepMs, text }) =>
        insert([from, number, lanes, batch, sleepMs], text),
      submitterPid: inserter.pid,
      startService: () => Promise.reject(new Error('a service with River would be a Go program; the bench has none')),
      async startWorkers({ processes, slots }) {
        const env = { BENCH_SLOTS: String(slots ?? NO_OP_SLOTS), BENCH_TALLY: tally.path };
        const workers = await Promise.all(Array.from({ length: processes }, () => startProcess(recipe('work', env))));
        return {
          pids: workers.map(({ pid }) => pid),
          stop: async () => void (await Promise.all(workers.map((worker) => worker.stop()))),
        };
      },
      unfinished: () => count(`state <> 'completed'`),
      finished: () => count(`state = 'completed'`),
      close: () => inserter.stop(),
    };
  },
};
