import { randomBytes } from 'node:crypto';
import type { Config } from '../../src/config/env.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { createIdSource, idMilliseconds, type IdSource } from '../../src/core/ids.ts';
import type { Position } from '../../src/core/priority.ts';
import type { NewTask } from '../../src/core/task.ts';
import { createTaskQueue, type TaskQueue } from '../../src/engine/order/task-queue.ts';
import { createDatabaseClock, type DatabaseClock } from '../../src/postgres/database-clock.ts';
import { createDatabase, type Database } from '../../src/postgres/database.ts';
import { createKeys, type Keys } from '../../src/redis/keys.ts';
import { createRedis, type RedisConnection } from '../../src/redis/redis.ts';
import { createLogger, type Logger } from '../../src/telemetry/logger.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';
import { createOutage } from '../../src/telemetry/outage.ts';
import { atEndOfFile } from './end-of-file.ts';
import { createTaskStore, type TaskStore } from './task-stores.ts';

/** The parts of the hot path on real stores, connected in the same way as in the processes. */
export interface TestParts {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly database: Database;
  readonly clock: DatabaseClock;
  readonly ids: IdSource;
  readonly store: TaskStore;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  /** Returns a task with default values; `changes` replaces fields. */
  newTask(changes?: Partial<NewTask>): NewTask;
  /** Commits tasks and enters them into Redis, as the API does. */
  submit(tasks: readonly NewTask[]): Promise<void>;
}

export async function openParts(env: Record<string, string>): Promise<TestParts> {
  const config = readConfig(env);
  const log = createLogger('silent', {});
  const metrics = createMetrics();
  const database = createDatabase(config, createOutage('postgresql', log, metrics, Date.now), log);
  const redis = createRedis(config, createOutage('redis', log, metrics, Date.now), log);
  atEndOfFile(async () => {
    await redis.close();
    await database.close();
  });
  const clock = createDatabaseClock(database);
  await clock.runOnce();
  const ids = createIdSource(clock.nowMs, randomBytes);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const store = createTaskStore(database, config.IDEMPOTENCY_TTL);
  const queue = createTaskQueue(redis, keys);
  await redis.untilReady(10_000);

  return {
    config,
    log,
    metrics,
    database,
    clock,
    ids,
    store,
    redis,
    keys,
    queue,
    newTask: (changes = {}) => ({
      id: ids.next(changes.queue ?? 'default'),
      client: '',
      queue: 'default',
      action: null,
      payload: 'null',
      priority: 2,
      group: null,
      executionTimeSeconds: 0,
      runAtMs: null,
      maxRetries: 3,
      backoff: null,
      timeoutMs: 60_000,
      metadata: null,
      traceId: 'test',
      traceparent: null,
      ...changes,
    }),
    async submit(tasks) {
      const queues = Map.groupBy(tasks.entries(), ([, task]) => task.queue);
      const submissions = tasks.map((task) => ({ task, idempotency: null }));
      const results = await store.submitAll(submissions, { names: [...queues.keys()], most: 10_000 });
      for (const [name, entries] of queues) {
        await queue.enqueue(
          name,
          entries.map(([index, task]) => {
            const result = results[index];
            return { position: positionOfTask(task), waitMs: result?.kind === 'created' ? result.waitMs : 0 };
          }),
        );
      }
    },
  };
}

export function positionOfTask(task: Pick<NewTask, 'id' | 'priority'>): Position {
  return { id: task.id, priority: task.priority, placeMs: idMilliseconds(task.id) };
}
