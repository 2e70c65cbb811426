import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Agent } from 'undici';
import { createKeys, type QueueKeys } from '../../src/redis/keys.ts';
import { inBatches, type Arena, type Contender, type ContenderKind } from '../contender.ts';
import { TEXT } from '../note.ts';
import { startProcess, type BenchProcess } from '../processes.ts';

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

/** Runs the scheduler as its image does: emitted code, API and worker in separate processes, tasks over HTTP. */
export function scheduler(name = 'scheduler', environment: Environment = {}): SchedulerKind {
  return {
    name,
    settings: `${NO_OP_SLOTS} slots, WORKER_CLAIM_BATCH=400${describe(environment)}`,
    unavailable: () => null,
    version: () => 'this checkout',
    open: (arena) => openScheduler(arena, environment),
  };
}

function describe(environment: Environment): string {
  return Object.entries(environment)
    .map(([key, value]) => `, ${key}=${value}`)
    .join('');
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

async function openScheduler({ stores, tally, directory }: Arena, extra: Environment): Promise<SchedulerContender> {
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
    ...extra,
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

  const post = async (path: string, body: unknown): Promise<void> => {
    const { statusCode, body: answer } = await client.request({
      origin: baseUrl.origin,
      path,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${await answer.text()}`);
    await answer.dump({ limit: 2 ** 28 });
  };
  const count = async (condition: string): Promise<number> => {
    const [row] = await stores.query<{ count: string }>(databaseUrl, `SELECT count(*) FROM tasks WHERE ${condition}`);
    return Number(row?.count);
  };

  return {
    databaseUrl,
    api,
    baseUrl,
    environment,
    queueKeys: createKeys(redisPrefix, '').queue('default'),
    run: start,
    submitOne: (n) => post('/tasks', { payload: payloadOf(n, 0) }),
    submitMany: (load) =>
      inBatches(load, (numbers) =>
        post('/tasks/batch', { tasks: numbers.map((n) => ({ payload: payloadOf(n, load.sleepMs) })) }),
      ),
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
    unfinished: async () =>
      (await count(`status IN ('PENDING', 'SCHEDULED')`)) + (await count(`status = 'PROCESSING'`)),
    async finished() {
      const [logs] = await stores.query<{ count: string }>(
        databaseUrl,
        `SELECT count(*) FROM execution_logs l JOIN tasks t ON t.id = l.task_id AND t.attempt = l.attempt
         WHERE l.outcome = 'COMPLETED' AND t.status = 'COMPLETED'`,
      );
      return Number(logs?.count);
    },
    async close() {
      await client.close();
      await Promise.all(processes.map((process) => process.stop()));
    },
  };
}

export function payloadOf(n: number, sleepMs: number): object {
  return { action: 'note', n, sleep_ms: sleepMs, text: TEXT };
}

async function migrate(url: string, redisUrl: string, log: string): Promise<void> {
  const migration = await startProcess({
    command: [process.execPath, MAIN, 'migrate'],
    env: { DATABASE_URL: url, REDIS_URL: redisUrl },
    isReady: () => true,
    log,
    quiet: true,
  });
  if (migration.child.exitCode === null) await new Promise((resolve) => migration.child.once('exit', resolve));
  if (migration.child.exitCode !== 0) throw new Error(`migrate failed; see ${log}`);
}
