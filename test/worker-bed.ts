import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { Config } from '../src/config/env.ts';
import { readConfig } from '../src/config/read-config.ts';
import { createIdSource, idMilliseconds } from '../src/core/ids.ts';
import type { Priority } from '../src/core/priority.ts';
import type { NewTask } from '../src/core/task.ts';
import type { Handler } from '../src/engine/attempts/handler.ts';
import { createTaskQueue, type TaskQueue } from '../src/engine/order/task-queue.ts';
import type { HandlerRegistry } from '../src/handlers/registry.ts';
import { createDatabase, type Database } from '../src/postgres/database.ts';
import { createKeys, type Keys } from '../src/redis/keys.ts';
import { createRedis, type RedisConnection } from '../src/redis/redis.ts';
import { createWorkerProcess, type WorkerOverrides, type WorkerProcess } from '../src/worker/worker.ts';
import { atEndOfFile } from './harness/end-of-file.ts';
import { untilTrue } from './harness/processes.ts';
import type { TestStores } from './harness/stores.ts';
import { createTaskStore, type TaskStore } from './harness/task-stores.ts';

export interface WorkerBed {
  readonly config: Config;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly store: TaskStore;
  /** Commits tasks and enqueues them; returns their ids in order. */
  submit(tasks: readonly Partial<NewTask>[]): Promise<string[]>;
  /** Starts a worker in this process. It stops at the end of the test at the latest. */
  startWorker(options?: StartWorkerOptions): Promise<RunningWorker>;
  tasks(ids?: readonly string[]): Promise<TaskRow[]>;
  attempts(taskId: string): Promise<AttemptRow[]>;
  /** Waits until every task has one of the statuses. */
  untilStatus(ids: readonly string[], statuses: readonly string[], timeoutMs?: number): Promise<TaskRow[]>;
}

export interface StartWorkerOptions extends WorkerOverrides {
  readonly env?: Record<string, string>;
  /** Handlers by action, instead of the usual ones. */
  readonly actions?: Readonly<Record<string, Handler>>;
}

export interface RunningWorker {
  readonly process: WorkerProcess;
  /** Its log so far. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  stop(): Promise<void>;
}

export interface TaskRow {
  readonly id: string;
  readonly status: string;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly worker_id: string | null;
  readonly progress: string | null;
}

export interface AttemptRow {
  readonly attempt: number;
  readonly worker_id: string;
  readonly outcome: string | null;
  readonly error: string | null;
  readonly result: string | null;
  readonly started_at: Date;
  readonly finished_at: Date | null;
}

/** Opens the two stores, to submit tasks and to run workers inside the test's process. */
export function createWorkerBed(stores: TestStores): WorkerBed {
  const config = readConfig({ ...stores.env });
  const silent = pino({ level: 'silent' });
  const noOutage = { failed: () => {}, answered: () => {}, ongoing: false };
  const database = createDatabase(config, noOutage, silent);
  const redis = createRedis(config, noOutage, silent);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const queue = createTaskQueue(redis, keys);
  const store = createTaskStore(database, 60_000);
  const ids = createIdSource(() => Date.now(), randomBytes);
  atEndOfFile(async () => {
    await database.close();
    await redis.close();
  });

  const query = <Row extends object>(name: string, text: string, values: readonly unknown[]): Promise<Row[]> =>
    database.run<Row>({ name, text }, values);

  const tasks = (wanted?: readonly string[]): Promise<TaskRow[]> =>
    query(
      'bed-tasks',
      `SELECT id, status, attempt, failures, lost, worker_id, progress FROM tasks
       WHERE $1::uuid[] IS NULL OR id = ANY($1::uuid[]) ORDER BY id`,
      [wanted ?? null],
    );

  return {
    config,
    database,
    redis,
    keys,
    queue,
    store,
    tasks,

    async submit(given) {
      const made = given.map((task) => ({ ...defaultTask(ids.next(task.queue ?? 'default')), ...task }));
      const names = [...new Set(made.map(({ queue: name }) => name))];
      const submissions = made.map((task) => ({ task, idempotency: null }));
      const results = await store.submitAll(submissions, { names, most: 10_000 });
      for (const [name, group] of Map.groupBy(made, (task) => task.queue)) {
        const runnables = group.map(({ id, priority }) => {
          const result = results[made.findIndex((task) => task.id === id)];
          const waitMs = result?.kind === 'created' ? result.waitMs : 0;
          return { position: { id, priority, placeMs: idMilliseconds(id) }, waitMs };
        });
        await queue.enqueue(name, runnables);
      }
      return made.map(({ id }) => id);
    },

    async startWorker({ env = {}, actions, ...overrides } = {}) {
      const lines: Record<string, unknown>[] = [];
      const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
      const handlers = actions === undefined ? {} : { handlers: registryOf(actions) };
      const process = await createWorkerProcess(readConfig({ ...stores.env, ...env }), log, {
        ...handlers,
        ...overrides,
      });
      for (const service of process.services) await service.start();
      let stopped: Promise<void> | undefined;
      const stop = (): Promise<void> => (stopped ??= stopAll(process));
      onTestFinished(() => stop().catch(() => {}));
      return { process, lines, stop };
    },

    attempts: (taskId) =>
      query(
        'bed-attempts',
        `SELECT attempt, worker_id, outcome, error, result, started_at, finished_at FROM execution_logs
         WHERE task_id = $1 ORDER BY attempt`,
        [taskId],
      ),

    async untilStatus(wanted, statuses, timeoutMs = 20_000) {
      const describe = async () =>
        Object.entries(Object.groupBy(await tasks(wanted), ({ status }) => status)).map(([k, v]) => [k, v?.length]);
      return untilTrue(
        async () => {
          const rows = await tasks(wanted);
          return rows.length === wanted.length && rows.every(({ status }) => statuses.includes(status)) ? rows : null;
        },
        { timeoutMs, describe },
      );
    },
  };
}

async function stopAll(process: WorkerProcess): Promise<void> {
  let failure: unknown;
  for (const service of process.services.toReversed()) {
    try {
      await service.stop();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

function registryOf(actions: Readonly<Record<string, Handler>>): HandlerRegistry {
  return {
    resolve(action) {
      const handler = actions[action ?? ''];
      if (handler === undefined) throw new Error(`the test has no handler for ${action}`);
      return { name: action ?? '', handler };
    },
    actions: () => Object.keys(actions),
    close: async () => {},
  };
}

function defaultTask(id: string): NewTask & { priority: Priority } {
  return {
    id,
    client: '',
    queue: 'default',
    action: null,
    payload: '{}',
    priority: 2,
    group: null,
    executionTimeSeconds: 0.01,
    runAtMs: null,
    maxRetries: 3,
    backoff: null,
    timeoutMs: 60_000,
    metadata: null,
    traceId: 'trace-of-test',
    traceparent: null,
  };
}
