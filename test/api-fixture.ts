import { readConfig } from '../src/config/read-config.ts';
import { SWEEP_STATEMENT_TIMEOUT_MS } from '../src/config/timings.ts';
import { createProjections } from '../src/core/access/projection.ts';
import { idMilliseconds, lowestIdAt } from '../src/core/ids.ts';
import type { Position } from '../src/core/priority.ts';
import { createCancelChannel } from '../src/engine/cancel/cancel-channel.ts';
import { createCancelStore } from '../src/engine/cancel/cancel-store.ts';
import { createReadyAges } from '../src/engine/counts/ready-ages.ts';
import { createSystemReads } from '../src/engine/counts/system-reads.ts';
import { createTaskQueue, type TaskQueue } from '../src/engine/order/task-queue.ts';
import { createTaskStates } from '../src/engine/order/task-states.ts';
import { createWorkerRegistry, type WorkerRegistry } from '../src/engine/presence/worker-registry.ts';
import { access, clientDirectory } from '../src/features/access/feature.ts';
import { audit } from '../src/features/audit/feature.ts';
import { dlq } from '../src/features/dlq/feature.ts';
import { queues } from '../src/features/queues/feature.ts';
import { stats } from '../src/features/stats/feature.ts';
import { taskRoutes } from '../src/features/tasks/routes.ts';
import { createTaskReads } from '../src/features/tasks/task-reads.ts';
import { workers } from '../src/features/workers/feature.ts';
import { openAuthentication } from '../src/http/access/authentication.ts';
import { createCursors } from '../src/http/paging/cursors.ts';
import { createSeal } from '../src/http/seal.ts';
import { createDatabaseClock } from '../src/postgres/database-clock.ts';
import { createReader } from '../src/postgres/reads/reader.ts';
import type { SearchLimits } from '../src/postgres/reads/search.ts';
import { readSealingKey } from '../src/postgres/sealing-keys.ts';
import { createKeys, type Keys } from '../src/redis/keys.ts';
import { createRedis, type RedisConnection } from '../src/redis/redis.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { createOutage } from '../src/telemetry/outage.ts';
import { atEndOfFile } from './harness/end-of-file.ts';
import { serveApp } from './harness/serve-app.ts';
import { createTestStores } from './harness/stores.ts';
import { createTaskFixture, type TaskFixture } from './task-fixture.ts';

/** An API on real stores, with an HTTP client for it and access to its parts. */
export interface ApiFixture {
  readonly tasks: TaskFixture;
  readonly queue: TaskQueue;
  readonly registry: WorkerRegistry;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly databaseUrl: string;
  get(path: string): Promise<Reply>;
  post(path: string, body?: unknown): Promise<Reply>;
  put(path: string, body: unknown): Promise<Reply>;
  /** Enters a task into Redis, with the default priority and place. */
  enqueue(queue: string, id: string): Promise<void>;
  position(id: string): Position;
  /** Returns a new id for the given time. */
  idAt(ms: number): string;
  databaseNowMs(): number;
  /** Listens on the cancel channel for the next task id. */
  nextCancel(): { readonly subscribed: Promise<unknown>; readonly taskId: Promise<string> };
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: { items?: unknown; next_cursor?: string | null; errors?: { path: string }[] } & Record<
    string,
    unknown
  >;
}

export interface ApiFixtureOptions {
  /** Private stores, for tests that stop them. */
  readonly redisUrl?: string;
  readonly databaseUrl?: string;
  /** How far the search for one page of a list may go. */
  readonly search?: SearchLimits;
  /** Milliseconds after which PostgreSQL ends a query of a list. */
  readonly readTimeoutMs?: number;
  /** Migrates the database of `databaseUrl` to the current schema. */
  readonly migrate?: (env: Record<string, string>) => Promise<void>;
}

/** Starts the fixture. It closes at the end of the test file. */
export async function createApiFixture({
  migrate,
  search,
  readTimeoutMs,
  ...own
}: ApiFixtureOptions = {}): Promise<ApiFixture> {
  const stores = await createTestStores(own);
  await migrate?.(stores.env);
  const config = readConfig(stores.env);
  const log = createLogger('silent', {});
  const metrics = createMetrics();
  const tasks = createTaskFixture(stores);
  const redis = createRedis(config, createOutage('redis', log, metrics, Date.now), log);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const queue = createTaskQueue(redis, keys);
  const registry = createWorkerRegistry(redis, keys);
  const reader = createReader(config, createOutage('postgresql', log, metrics, Date.now), log, metrics, readTimeoutMs);
  const databaseClock = createDatabaseClock(tasks.database);
  await databaseClock.runOnce();
  await redis.untilReady(10_000);

  const { database } = tasks;
  const databaseNowMs = databaseClock.nowMs;
  const systemReads = createSystemReads(reader);
  const readyAges = createReadyAges(createTaskStates(database.runWithin(SWEEP_STATEMENT_TIMEOUT_MS)));
  const cursors = createCursors(createSeal(() => readSealingKey(database, 'cursors')));
  const projectionOf = createProjections({
    redactedFields: config.REDACTED_FIELDS,
    privateMetadata: config.PRIVATE_METADATA,
  });
  const shared = { projectionOf, readyAges, systemReads };
  const parts = { config, cursors, database, log, metrics, queue, reader, redis, registry, ...shared };
  const features = [
    dlq(parts, search),
    queues(parts),
    workers(parts),
    stats(parts),
    access(parts, clientDirectory(database, config, log)),
    audit(parts, search),
  ];
  const routes = [
    ...taskRoutes({
      cancels: createCancelStore(database),
      reads: createTaskReads(reader, search),
      projectionOf,
      queue,
      cancelChannel: createCancelChannel(redis, keys, log),
      cursors,
    }),
    ...features.flatMap((feature) => feature.routes ?? []),
  ];
  const subscriptions: (() => void)[] = [];
  atEndOfFile(async () => {
    for (const end of subscriptions) end();
    await reader.close();
    await redis.close();
    await tasks.close();
  });
  // The server is started last, so that it ends before the stores do.
  const { url } = await serveApp({ routes, authentication: openAuthentication, metrics, log });

  const request = async (method: string, path: string, body?: unknown): Promise<Reply> => {
    const content =
      body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
    const response = await fetch(url + path, { method, ...content });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text) as Reply['body'] };
  };

  const position = (id: string): Position => ({ id, priority: 2, placeMs: idMilliseconds(id) });
  let serial = 0;
  return {
    tasks,
    queue,
    registry,
    redis,
    keys,
    databaseUrl: stores.databaseUrl,
    get: (path) => request('GET', path),
    post: (path, body) => request('POST', path, body),
    put: (path, body) => request('PUT', path, body),
    async enqueue(name, id) {
      await queue.enqueue(name, [{ position: position(id), waitMs: 0 }]);
    },
    position,
    idAt: (ms) => lowestIdAt(ms).slice(0, -6) + (++serial).toString(16).padStart(6, '0'),
    databaseNowMs,
    nextCancel() {
      const connection = redis.openBlocking();
      subscriptions.push(() => connection.disconnect());
      const told = Promise.withResolvers<string>();
      connection.on('message', (_channel: string, taskId: string) => told.resolve(taskId));
      return { subscribed: connection.subscribe(keys.cancelChannel), taskId: told.promise };
    },
  };
}
