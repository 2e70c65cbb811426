import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Agent } from 'undici';
import { createKeys, type QueueKeys } from '../../src/redis/keys.ts';
import { inBatches, type Arena, type Contender, type ContenderKind } from '../contender.ts';
import { TEXT } from '../note.ts';
import { runToEnd, startProcess, type BenchProcess } from '../processes.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const DIST = join(ROOT, '.local', 'bench', 'dist');
const MAIN = join(DIST, 'main.js');

export type Environment = Readonly<Record<string, string>>;

export interface SchedulerContender extends Contender {
  readonly api: BenchProcess;
  readonly baseUrl: URL;
  readonly environment: Environment;
  readonly databaseUrl: string;
  readonly queueKeys: QueueKeys;
  /** Runs a command of the scheduler until the contender is closed. @param sign the log message that shows it is up */
  run(command: readonly string[], sign: string, more?: Environment): Promise<BenchProcess>;
}

export interface SchedulerKind extends ContenderKind {
  open(arena: Arena): Promise<SchedulerContender>;
}

const NO_OP_SLOTS = 1_000;

/**
 * Runs the scheduler as its image does: emitted code, API and worker in separate processes, tasks over HTTP.
 * @param keepsCompleted whether the queue keeps its completed tasks, as is the default
 */
export function scheduler(keepsCompleted = true): SchedulerKind {
  return {
    name: keepsCompleted ? 'scheduler' : 'scheduler (keep_completed off)',
    settings: `${NO_OP_SLOTS} slots, WORKER_CLAIM_BATCH=400${keepsCompleted ? '' : '; of completed tasks, only the submission is kept'}`,
    unavailable: () => null,
    version: () => 'this checkout',
    open: (arena) => openScheduler(arena, keepsCompleted),
  };
}

let built = false;

function build(): void {
  if (built) return;
  mkdirSync(DIST, { recursive: true });
  spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', DIST],
    { cwd: ROOT },
  );
  for (const path of globSync('src/**/*.{sql,lua}', { cwd: ROOT }))
    cpSync(join(ROOT, path), join(DIST, relative('src', path)));
  // The scheduler reads its version from this file.
  cpSync(join(ROOT, 'package.json'), join(DIST, '..', 'package.json'));
  built = true;
}

let opened = 0;

async function openScheduler(
  { stores, tally, directory }: Arena,
  keepsCompleted: boolean,
): Promise<SchedulerContender> {
  build();
  const log = join(directory, 'scheduler.log');
  const redisPrefix = `bench${++opened}`;
  const databaseUrl = await stores.freshDatabase('scheduler', (url) => migrate(url, stores.redisUrl, log));
  const environment: Environment = {
    DATABASE_URL: databaseUrl,
    REDIS_URL: stores.redisUrl,
    REDIS_PREFIX: redisPrefix,
    REDIS_HEARTBEAT_PREFIX: `${redisPrefix}:`,
    HOST: '127.0.0.1',
    PORT: '0',
    METRICS_PORT: '0',
    RATE_LIMIT_PER_MINUTE: '10000000',
    RATE_LIMIT_BURST: '10000000',
    HANDLERS: join(import.meta.dirname, '..', 'handlers.ts'),
    WORKER_CLAIM_BATCH: '400',
    BENCH_TALLY: tally.path,
  };
  const processes: BenchProcess[] = [];
  const start = async (command: readonly string[], sign: string, more: Environment = {}): Promise<BenchProcess> => {
    const started = await startProcess({
      command: [process.execPath, MAIN, ...command],
      env: { ...environment, ...more },
      isReady: (line) => line.includes(`"${sign}"`),
      log,
      quiet: true,
    });
    processes.push(started);
    return started;
  };

  const api = await start(['api'], 'api listening');
  const { port } = JSON.parse(api.ready) as { port: number };
  const baseUrl = new URL(`http://127.0.0.1:${port}`);
  const client = new Agent({ connections: 16 });

  const send = async (method: 'POST' | 'PUT', path: string, body: unknown): Promise<void> => {
    const { statusCode, body: answer } = await client.request({
      origin: baseUrl.origin,
      path,
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${await answer.text()}`);
    await answer.dump({ limit: 2 ** 28 });
  };
  if (!keepsCompleted) await send('PUT', '/queues/default', { keep_completed: false });
  const count = async (from: string): Promise<number> => {
    const [row] = await stores.query<{ count: string }>(databaseUrl, `SELECT count(*) FROM ${from}`);
    return Number(row?.count);
  };

  const queueKeys = createKeys(redisPrefix, '').queue('default');
  return {
    databaseUrl,
    api,
    baseUrl,
    environment,
    queueKeys,
    entered: () => stores.redis.zcard(queueKeys.ready),
    run: start,
    submitOne: (n) => send('POST', '/tasks', { payload: payloadOf(n, 0) }),
    submitMany: (load) =>
      inBatches(load, (numbers) =>
        send('POST', '/tasks/batch', {
          tasks: numbers.map((n) => ({
            payload: payloadOf(n, load.sleepMs, load.text),
            ...(load.background === true ? { priority: 'Low' } : {}),
          })),
        }),
      ),
    submitterPid: api.pid,
    startService: async () => ({
      url: baseUrl,
      path: '/tasks',
      pid: api.pid,
      body: (n) => JSON.stringify({ payload: payloadOf(n, 0) }),
    }),
    async startWorkers({ processes: number, slots }) {
      const workers = await Promise.all(
        Array.from({ length: number }, () =>
          start(['worker'], 'worker claims', { WORKER_SLOTS: String(slots ?? NO_OP_SLOTS) }),
        ),
      );
      return {
        pids: workers.map(({ pid }) => pid),
        stop: async () => void (await Promise.all(workers.map((worker) => worker.stop()))),
      };
    },
    // Each of these conditions has an index, so that the bench does not read the whole table again and again.
    unfinished: async () =>
      (await count(`unfinished WHERE status IN ('PENDING', 'SCHEDULED')`)) +
      (await count(`unfinished WHERE status = 'PROCESSING'`)),
    finished: () =>
      count(
        keepsCompleted
          ? `finished WHERE status = 'COMPLETED' AND outcome = 'COMPLETED'`
          : `submissions s WHERE NOT keep_completed AND NOT EXISTS (SELECT FROM unfinished u WHERE u.id = s.id)
             AND NOT EXISTS (SELECT FROM finished f WHERE f.id = s.id)`,
      ),
    async close() {
      await client.close();
      await Promise.all(processes.map((process) => process.stop()));
    },
  };
}

export function payloadOf(n: number, sleepMs: number, text = TEXT): object {
  return { action: 'note', n, sleep_ms: sleepMs, text };
}

async function migrate(url: string, redisUrl: string, log: string): Promise<void> {
  const env = { DATABASE_URL: url, REDIS_URL: redisUrl };
  await runToEnd({ command: [process.execPath, MAIN, 'migrate'], env, log });
}
