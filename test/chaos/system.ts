import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { freePort } from '../../scripts/stores/private-server.ts';
import { newStoresDirectory, removeLeftOvers } from '../harness/memory-directory.ts';
import { unmountLeftOvers } from './bounded-disk.ts';
import type { Disturbance } from './evidence.ts';
import { startPostgresUnderTest, type PostgresUnderTest } from './postgres-under-test.ts';
import { createChaosProcess, nowMs, type ChaosProcess, type ProcessKind } from './processes.ts';
import { startProxy, type Proxy } from './proxy.ts';
import { startRedisUnderTest, type RedisUnderTest } from './redis-under-test.ts';
import type { RunSettings } from './settings.ts';
import { findFaketime } from './shifted-server-clock.ts';

export type Store = 'postgresql' | 'redis';

/** Real processes on private stores. Each connection goes through a link that can be disturbed. */
export interface ChaosSystem {
  readonly settings: RunSettings;
  readonly directory: string;
  readonly executionsDirectory: string;
  readonly postgres: PostgresUnderTest;
  readonly redis: RedisUnderTest;
  /** What this machine lacks, so that the run goes without it. */
  readonly without: readonly string[];
  readonly proxy: Proxy;
  readonly processes: readonly ChaosProcess[];
  readonly apiUrls: readonly string[];
  readonly disturbances: readonly Disturbance[];
  process(name: string): ChaosProcess;
  ofKind(kind: ProcessKind): ChaosProcess[];
  linkOf(process: string, store: Store): string;
  /** Records a disturbance of the whole system, until `end()`. */
  disturb(what: Disturbance['what'], fault: string, queue?: string): { end(): void };
  /** Shifts the clock of one process. */
  shiftClock(process: string, ms: number): void;
  stopProcesses(): Promise<void>;
  remove(): Promise<void>;
}

export interface SystemOptions {
  readonly settings: RunSettings;
  /** Directory for logs and the handlers' records. */
  readonly directory: string;
  /** The root of the sources that all processes run; by default the project, otherwise a copy with a planted defect. */
  readonly root?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called when the tables exist and no process has been started yet. */
  readonly prepare?: (client: pg.Client) => Promise<void>;
}

const PROJECT = resolve(import.meta.dirname, '../..');
export const REDIS_PREFIX = 'chaos';

/** A queue that does not keep completed tasks. */
export const FLEETING_QUEUE = 'fleeting';

export async function startSystem(options: SystemOptions): Promise<ChaosSystem> {
  const { settings, directory } = options;
  unmountLeftOvers();
  removeLeftOvers();
  const stores = newStoresDirectory('chaos');
  const executionsDirectory = join(directory, 'executions');
  mkdirSync(executionsDirectory, { recursive: true });
  const { postgresClockAheadMs: aheadMs } = settings;
  const sameClock = aheadMs === 0 || findFaketime() === null;
  const without = sameClock && aheadMs !== 0 ? ['libfaketime: the clocks of the stores do not differ'] : [];
  const postgres = await startPostgresUnderTest(stores, sameClock ? 0 : aheadMs);
  const redis = await startRedisUnderTest({ kind: settings.redis, directory: stores }).catch(async (error: unknown) => {
    await postgres.remove();
    throw error;
  });
  const proxy = startProxy();
  const processes: ChaosProcess[] = [];
  const apiUrls: string[] = [];
  const disturbances: {
    what: Disturbance['what'];
    fault: string;
    fromMs: number;
    toMs: number;
    queue?: string | null;
  }[] = [];

  const system: ChaosSystem = {
    settings,
    directory,
    executionsDirectory,
    postgres,
    redis,
    without,
    proxy,
    processes,
    apiUrls,
    disturbances,
    process(name) {
      const found = processes.find((candidate) => candidate.name === name);
      if (found === undefined) throw new Error(`no process is called ${name}`);
      return found;
    },
    ofKind: (kind) => processes.filter((candidate) => candidate.kind === kind),
    linkOf: (name, store) => `${name}/${store}`,
    disturb(what, fault, queue) {
      const window = { what, fault, fromMs: nowMs(), toMs: Infinity, queue: queue ?? null };
      disturbances.push(window);
      return { end: () => void (window.toMs = nowMs()) };
    },
    shiftClock: (name, ms) => writeFileSync(clockFile(directory, name), String(ms)),
    async stopProcesses() {
      await Promise.all(
        processes.map((running) => {
          running.retire();
          return running.terminate('end of the run');
        }),
      );
    },
    async remove() {
      proxy.close();
      await postgres.remove();
      await redis.remove();
      rmSync(stores, { recursive: true, force: true });
    },
  };

  try {
    const env = {
      ...process.env,
      ...(await redis.environment(async (port) => port)),
      DATABASE_URL: postgres.url,
      LOG_LEVEL: 'warn',
    };
    await promisify(execFile)(process.execPath, ['src/main.ts', 'migrate'], { cwd: options.root ?? PROJECT, env });
    if (options.prepare !== undefined) await withConnection(postgres.url, options.prepare);
    for (const member of await membersOf(settings, apiUrls))
      processes.push(await createMember(system, options, member));
    await Promise.all(processes.map((member) => member.start()));
    const late = processes.filter((member) => !member.isUp).map(({ name }) => name);
    if (late.length > 0) throw new Error(`did not come up: ${late.join(', ')}; logs in ${directory}`);
  } catch (error) {
    await system.stopProcesses();
    await system.remove();
    throw error;
  }
  return system;
}

interface Member {
  readonly name: string;
  readonly kind: ProcessKind;
  readonly args: readonly string[];
  readonly upWhen: string;
  readonly slots: number;
  readonly env: Readonly<Record<string, string>>;
}

async function membersOf(settings: RunSettings, apiUrls: string[]): Promise<Member[]> {
  const members: Member[] = [];
  for (let i = 1; i <= settings.apis; i++) {
    // The port stays the same over restarts, as behind a Service.
    const port = await freePort();
    apiUrls.push(`http://127.0.0.1:${port}`);
    members.push({
      name: `api-${i}`,
      kind: 'api',
      args: ['api'],
      upWhen: 'api listening',
      slots: 0,
      env: { PORT: String(port) },
    });
  }
  const worker = { kind: 'worker', args: ['worker'], upWhen: 'worker claims' } as const;
  for (let i = 1; i <= settings.workers; i++) {
    // Workers take the queues in turn, so that a backlog in one does not stop the others.
    const env = {
      WORKER_QUEUES: `default,other,${FLEETING_QUEUE}`,
      WORKER_QUEUE_ORDER: 'round-robin',
      WORKER_SLOTS: String(settings.slots),
    };
    members.push({ ...worker, name: `worker-${i}`, slots: settings.slots, env });
  }
  // This worker has one slot and a separate queue, in which every claim has to take the very first task.
  members.push({ ...worker, name: 'strict-1', slots: 1, env: { WORKER_QUEUES: 'strict', WORKER_SLOTS: '1' } });
  for (let i = 1; i <= settings.reclaimers; i++) {
    const args = ['reclaimer', '--loop'];
    members.push({ name: `reclaimer-${i}`, kind: 'reclaimer', args, upWhen: 'reclaimer started', slots: 0, env: {} });
  }
  return members;
}

async function createMember(system: ChaosSystem, options: SystemOptions, member: Member): Promise<ChaosProcess> {
  const { settings, directory, postgres, redis, proxy } = system;
  const open = (store: Store) => (port: number) => proxy.open(system.linkOf(member.name, store), port);
  const database = new URL(postgres.url);
  database.port = String(await open('postgresql')(postgres.port));
  const env = {
    DATABASE_URL: database.href,
    ...(await redis.environment(open('redis'))),
    DATABASE_POOL_MAX: '6',
    REDIS_PREFIX,
    LOG_LEVEL: 'info',
    // Like the memory limit of a container, this soon ends a process that leaks memory.
    NODE_OPTIONS: '--max-old-space-size=256',
    HOST: '127.0.0.1',
    METRICS_PORT: '0',
    // This is not a UUID, so that only silence decides which worker is dead.
    POD_UID: member.name,
    HANDLERS: join(import.meta.dirname, 'chaos-handlers.ts'),
    SHUTDOWN_GRACE: '3s',
    HEARTBEAT_INTERVAL: `${settings.heartbeatIntervalMs}ms`,
    HEARTBEAT_TTL: `${settings.ttlMs}ms`,
    LOST_CAP: String(settings.lostCap),
    RATE_LIMIT_PER_MINUTE: String(settings.rateLimitPerMinute),
    RATE_LIMIT_BURST: String(Math.max(1, Math.round(settings.rateLimitPerMinute / 30))),
    CHAOS_EXECUTIONS: system.executionsDirectory,
    CHAOS_CLOCK: clockFile(directory, member.name),
    ...member.env,
    ...options.env,
  };
  const preload = join(import.meta.dirname, 'shifted-clock.ts');
  const { name, kind, upWhen, slots } = member;
  const args = ['--import', preload, 'src/main.ts', ...member.args];
  return createChaosProcess({ name, kind, root: options.root ?? PROJECT, args, env, slots, upWhen }, directory);
}

function clockFile(directory: string, name: string): string {
  return join(directory, `${name}.clock`);
}
