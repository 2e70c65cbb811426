import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { exposureOf } from '../config/auth-mode.ts';
import type { Config } from '../config/env.ts';
import { EVENT_LOOP_TIMER_API_MS, FIRST_CONTACT_MS, SWEEP_STATEMENT_TIMEOUT_MS } from '../config/timings.ts';
import { createProjections } from '../core/access/projection.ts';
import { systemClock } from '../core/clock.ts';
import { createIdSource } from '../core/ids.ts';
import { createRandomPool } from '../core/random-pool.ts';
import { createReadyAges } from '../engine/counts/ready-ages.ts';
import { createSystemReads } from '../engine/counts/system-reads.ts';
import { createTaskQueue, type TaskQueue } from '../engine/order/task-queue.ts';
import { createTaskStates } from '../engine/order/task-states.ts';
import { createWorkerRegistry } from '../engine/presence/worker-registry.ts';
import { createEnqueuer } from '../engine/submit/enqueuer.ts';
import { createKnownQueues } from '../engine/submit/known-queues.ts';
import { createSubmitStore } from '../engine/submit/submit-store.ts';
import { createSubmitter } from '../engine/submit/submitter.ts';
import { createRefusalLog } from '../features/audit/feature.ts';
import { createAdmission } from '../http/admission/admission.ts';
import { createRateLimiter } from '../http/admission/rate-limiter.ts';
import type { BucketLimits } from '../http/admission/token-bucket.ts';
import { createApp } from '../http/app.ts';
import { createMemoryBudget } from '../http/body/memory-budget.ts';
import { inFlightByDefault } from '../http/body/memory-limit.ts';
import { docsRoutes } from '../http/openapi/docs.ts';
import { createCursors } from '../http/paging/cursors.ts';
import type { Route } from '../http/route.ts';
import { createSeal } from '../http/seal.ts';
import { createClientAddressOf } from '../http/server/client-address.ts';
import { healthRoutes } from '../http/server/health.ts';
import { createReadiness, type ReadinessSwitch } from '../http/server/readiness.ts';
import { createApiServer } from '../http/server/server.ts';
import { untilEnded } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import { createDatabaseClock } from '../postgres/database-clock.ts';
import { createDatabase, type Database } from '../postgres/database.ts';
import { createReader } from '../postgres/reads/reader.ts';
import { readSealingKey } from '../postgres/sealing-keys.ts';
import { createKeys, type Keys } from '../redis/keys.ts';
import { createRedis, type RedisConnection } from '../redis/redis.ts';
import { createRightsCheck } from '../redis/rights-check.ts';
import { createServerCheck } from '../redis/server-check.ts';
import type { Logger } from '../telemetry/logger.ts';
import { collectProcessMetrics, createMetrics, type Metrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createProbeServer } from '../telemetry/probe-server.ts';
import { createAccess } from './access.ts';
import { createDatabaseContact } from './database-contact.ts';
import { createFeatures } from './features.ts';

/** The parts of an API process. The stand-in for the reclaimer, which runs in the same process, shares some of them. */
export interface ApiProcess {
  /** The services in the order of their start; the server is the last. */
  readonly services: readonly Service[];
  /** The address on which the server listens; null before the start. */
  address(): AddressInfo | null;
  /** Rejects when the process has to end because the database must not be used. */
  readonly finished: Promise<never>;
  /** Names this process in the sweeper's lease. */
  readonly holder: string;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/**
 * Puts an API process together. An unreachable store is not an error: without Redis, tasks are accepted; without
 * PostgreSQL, the process stays unready and keeps trying.
 */
export async function createApiProcess(config: Config, log: Logger): Promise<ApiProcess> {
  const clientAddressOf = createClientAddressOf(config.TRUSTED_PROXIES);
  const stores = openStores(config, log);
  const { metrics, database, redis, keys, queue, store } = stores;
  const readiness = createReadiness(redis);

  const contact = createDatabaseContact({ ...stores, config, onContact: readiness.ready, log });
  const enqueuer = createEnqueuer(queue, metrics, log);
  const submitter = createSubmitter({
    store,
    queues: createKnownQueues(config.QUEUES_MAX, config.QUEUES_MAX_PER_ADDRESS),
    onCommitted: enqueuer.enter,
  });
  const refusals = createRefusalLog({ database, metrics, log });
  const access = createAccess({ ...stores, config, refusals });
  warnIfExposed(config, log);
  const features = createFeatures(
    {
      ...stores,
      config,
      submitter,
      ids: createIdSource(contact.nowMs, createRandomPool(randomBytes)),
      admission: createAdmission(createRateLimiter(redis, keys), addressLimits(config), metrics),
      cursors: createCursors(createSeal(() => readSealingKey(database, 'cursors'))),
      projectionOf: createProjections({
        redactedFields: config.REDACTED_FIELDS,
        privateMetadata: config.PRIVATE_METADATA,
      }),
    },
    access,
  );
  const described: Route[] = [
    ...features.flatMap(({ routes = [] }) => routes),
    ...healthRoutes(readiness, metrics.registry),
  ];
  const app = createApp({
    routes: [...described, ...docsRoutes(described, packageVersion())],
    authentication: access.authentication,
    allowedHosts: access.allowedHosts,
    refusals,
    metrics,
    log,
    clientAddressOf,
    isDraining: () => readiness.now() === 'draining',
    memory: createMemoryBudget({ maxBytes: config.IN_FLIGHT_MAX_BYTES || inFlightByDefault(), metrics }),
  });
  const handle = app.callback();
  const server = createApiServer({
    handle: (request, response) => void handle(request, response),
    host: config.HOST,
    port: config.PORT,
    readiness,
    delayMs: config.SHUTDOWN_DELAY,
    graceMs: config.SHUTDOWN_GRACE,
    log,
  });
  const probes = config.API_METRICS_PORT === 0 ? [] : [createProbes(config, readiness, stores)];
  const gauges = features.flatMap(({ metrics: keeper }) => (keeper === undefined ? [] : [inBackground(keeper)]));

  return {
    // The server is stopped first, so that no more requests come while the other services stop.
    services: [
      connections(stores),
      contact,
      ...access.services,
      enqueuer,
      submitter,
      refusals,
      ...gauges,
      ...probes,
      server,
    ],
    address: server.address,
    finished: contact.failed,
    holder: `${hostname()}.${randomBytes(4).toString('hex')}`,
    database,
    redis,
    keys,
    queue,
    metrics,
    log,
  };
}

/** Says at every start that whoever reaches the API may do everything, if others may reach it. */
function warnIfExposed(config: Config, log: Logger): void {
  const exposure = exposureOf(config);
  if (exposure === null) return;
  log.warn({ host: config.HOST }, `nobody needs a key: whoever reaches the API may do everything (AUTH). ${exposure}`);
}

type Stores = ReturnType<typeof openStores>;

/** Opens both stores and creates everything that uses them. Does not wait for any connection. */
function openStores(config: Config, log: Logger) {
  const metrics = createMetrics();
  collectProcessMetrics(metrics.registry, EVENT_LOOP_TIMER_API_MS);
  const postgresOutage = createOutage('postgresql', log, metrics, systemClock.monotonicMs);
  const database = createDatabase(config, postgresOutage, log, metrics);
  const reader = createReader(config, postgresOutage, log, metrics);
  const redisOutage = createOutage('redis', log, metrics, systemClock.monotonicMs);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const rights = createRightsCheck(config, keys, log);
  const redis = createRedis(config, redisOutage, log, { rights, onReady: createServerCheck(log) });
  return {
    log,
    metrics,
    database,
    clock: createDatabaseClock(database),
    reader,
    redis,
    keys,
    queue: createTaskQueue(redis, keys),
    registry: createWorkerRegistry(redis, keys),
    store: createSubmitStore(database, config.IDEMPOTENCY_TTL),
    systemReads: createSystemReads(reader),
    readyAges: createReadyAges(createTaskStates(database.runWithin(SWEEP_STATEMENT_TIMEOUT_MS))),
  };
}

/** The rate limit of an address; null if there is none. */
function addressLimits({ RATE_LIMIT_BURST, RATE_LIMIT_PER_MINUTE }: Config): BucketLimits | null {
  if (RATE_LIMIT_PER_MINUTE === 0) return null;
  return { capacity: RATE_LIMIT_BURST, refillPerSecond: RATE_LIMIT_PER_MINUTE / 60 };
}

/** Serves probes and metrics on a port of their own, so that an Ingress need not show them. */
function createProbes(config: Config, readiness: Pick<ReadinessSwitch, 'now'>, { metrics, log }: Stores): Service {
  return createProbeServer({
    host: config.HOST,
    port: config.API_METRICS_PORT,
    setting: 'API_METRICS_PORT',
    registry: metrics.registry,
    allowedHosts: config.ALLOWED_HOSTS,
    isHealthy: () => true,
    isReady: () => readiness.now() === 'ready',
    log,
  });
}

/** The connections to both stores, as a service that is started first and stopped last. */
function connections({ database, reader, redis }: Stores): Service {
  let closed: Promise<unknown> | undefined;
  return {
    name: 'connections',
    // The start waits briefly for Redis. Otherwise the first submissions could not be enqueued and would wait for
    // reconcile.
    start: () => redis.untilReady(FIRST_CONTACT_MS),
    async stop() {
      closed ??= Promise.all([database.close(), reader.close(), redis.close()]);
      await closed;
    },
  };
}

/** Starts a service in the background: its first turn queries PostgreSQL, and the API must not wait for that. */
function inBackground(service: Service): Service {
  let starting: Promise<void> | undefined;
  return {
    name: service.name,
    async start() {
      starting ??= service.start();
    },
    async stop() {
      await service.stop();
      // A query after its pool was closed would open another pool.
      await untilEnded(starting);
    },
  };
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
