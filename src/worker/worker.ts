import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/env.ts';
import { ABORTED_HANDLERS_MS, CLAIM_LOOP_STALLED_MS, EXIT_LINGER_MS } from '../config/timings.ts';
import { createHandlerRegistry, type HandlerRegistry } from '../handlers/registry.ts';
import type { Service } from '../lifecycle/service.ts';
import { createCancelChannel } from '../queue/cancel-channel.ts';
import { createKeys, type Keys } from '../queue/keys.ts';
import { createRedis, type RedisConnection } from '../queue/redis.ts';
import { createTaskQueue, type TaskQueue } from '../queue/task-queue.ts';
import { createWakeWaiter } from '../queue/wake-waiter.ts';
import { createDatabase, type Database } from '../store/database.ts';
import { loadQueueSettings } from '../store/queue-settings.ts';
import { createTaskStore } from '../store/task-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import { collectProcessMetrics, createMetrics, type Metrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createProbeServer } from '../telemetry/probe-server.ts';
import { createAftermath } from './aftermath.ts';
import { createClaimLoop, type ClaimLoop } from './claim-loop.ts';
import { createExecutor, type Executor } from './executor.ts';
import { awaitDatabase } from './first-contact.ts';
import { createHeartbeat } from './heartbeat.ts';
import { createHoldings } from './holdings.ts';
import { releaseOf } from './open-outcome.ts';
import { createPulse, monotonicNowMs, type Pulse } from './pulse.ts';
import { createSettler } from './settler.ts';
import { createSlots, type Slots } from './slots.ts';
import { createStrayErrorGuard } from './stray-errors.ts';

/** The parts of a worker process, and what the stand-in for the reclaimer shares with it. */
export interface WorkerProcess {
  /** In the order in which they start. */
  readonly services: readonly Service[];
  /** `<pod UID or host name>.<nonce>`, without spaces. A new one with every process, so that a reused name never hides a death. */
  readonly workerId: string;
  /** Where /metrics, /healthz and /readyz are; null before the start. */
  address(): { readonly port: number } | null;
  /** Rejects when the process has to end by itself: outcomes were given up, or the database must not be used. */
  readonly finished: Promise<never>;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** What stands in for the usual parts where somebody composes a worker of their own. */
export interface WorkerOverrides {
  readonly handlers?: HandlerRegistry;
  readonly settleGiveUpMs?: number;
}

/**
 * @throws HandlersModuleError, ConfigError if the handlers cannot be used. A store
 * that is away is no error: the worker waits for it.
 */
export async function createWorkerProcess(
  config: Config,
  parentLog: Logger,
  overrides: WorkerOverrides = {},
): Promise<WorkerProcess> {
  const workerId = `${(config.POD_UID || hostname()).replaceAll(/\s/g, '-')}.${randomBytes(4).toString('hex')}`;
  const log = parentLog.child({ worker_id: workerId });
  const handlers = overrides.handlers ?? (await createHandlerRegistry({ config }));

  const metrics = createMetrics();
  collectProcessMetrics(metrics.registry);
  const database = createDatabase(config, createOutage('postgresql', log, metrics, monotonicNowMs), log, metrics);
  const redis = createRedis(config, createOutage('redis', log, metrics, monotonicNowMs), log);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const queue = createTaskQueue(redis, keys);
  const store = createTaskStore(database, config.IDEMPOTENCY_TTL);

  const pulse = createPulse();
  const slots = createSlots(config.WORKER_SLOTS, (changed) => showSlots(changed, pulse, metrics));
  const onSettled = createAftermath({ workerId, queue, metrics, log });
  const settler = createSettler({ workerId, store, onSettled, log, giveUpMs: overrides.settleGiveUpMs });
  const executor = createExecutor({ slots, settler, handlers, log });
  const claimLoop = createClaimLoop({
    workerId,
    config,
    store,
    queue,
    waiter: createWakeWaiter(redis, keys, config.WORKER_QUEUES, { cluster: config.REDIS_CLUSTER }),
    loadSettings: (queues) => loadQueueSettings(database, queues),
    slots,
    execute: executor.execute,
    release: (task) => settler.add(releaseOf(task)),
    metrics,
    log,
    nowMs: monotonicNowMs,
  });
  const holdings = createHoldings({
    workerId,
    store,
    slots,
    settler,
    isStarting: claimLoop.isStarting,
    intervalMs: config.HOLDINGS_INTERVAL,
    log,
  });
  const heartbeat = createHeartbeat({
    config,
    workerId,
    queues: config.WORKER_QUEUES,
    slots: config.WORKER_SLOTS,
    pulse,
    onTick: () => showSlots(slots, pulse, metrics),
    log,
  });
  const cancels = createCancelListener(slots, createCancelChannel(redis, keys));
  const failed = Promise.withResolvers<never>();
  const worker = createWorker({ config, database, claimLoop, executor, slots, pulse, onFatal: failed.reject, log });
  const probes = createProbeServer({
    host: config.HOST,
    port: config.METRICS_PORT,
    registry: metrics.registry,
    isHealthy: worker.isHealthy,
    isReady: worker.isReady,
    log,
  });

  const finished = Promise.race([failed.promise, settler.failed]);
  finished.catch(() => {});
  return {
    services: [
      createConnections(database, redis, handlers, slots, log),
      createStrayErrorGuard(log),
      probes,
      heartbeat,
      settler,
      holdings,
      cancels,
      worker,
    ],
    workerId,
    address() {
      const port = probes.port();
      return port === null ? null : { port };
    },
    finished,
    database,
    redis,
    keys,
    queue,
    metrics,
    log,
  };
}

interface WorkerParts {
  readonly config: Config;
  readonly database: Database;
  readonly claimLoop: ClaimLoop;
  readonly executor: Executor;
  readonly slots: Slots;
  readonly pulse: Pulse;
  readonly onFatal: (error: unknown) => void;
  readonly log: Logger;
}

interface Worker extends Service {
  /** False when the claim loop has stopped turning, which only a restart mends. */
  isHealthy(): boolean;
  /** From the first contact with PostgreSQL until the worker stops claiming. */
  isReady(): boolean;
}

/** Claims once PostgreSQL has been reached, and in the end hands back what does not finish in time. */
function createWorker(parts: WorkerParts): Worker {
  const { config, database, claimLoop, executor, slots, pulse, onFatal, log } = parts;
  const stopping = new AbortController();
  let claiming = false;
  let booting: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;

  const boot = async (): Promise<void> => {
    try {
      await awaitDatabase(database, config, log, stopping.signal);
      if (stopping.signal.aborted) return;
      await claimLoop.start();
      claiming = true;
      log.info({ queues: config.WORKER_QUEUES, slots: slots.total }, 'worker claims');
    } catch (error) {
      onFatal(error);
    }
  };

  const drain = async (): Promise<void> => {
    const graceEndsMs = monotonicNowMs() + config.SHUTDOWN_GRACE;
    stopping.abort();
    pulse.draining = true;
    claiming = false;
    await booting;
    await claimLoop.stop();
    if (await slots.waitForSettled(graceEndsMs - monotonicNowMs())) return;
    const open = slots.all().filter(({ settled }) => !settled);
    log.warn({ tasks: open.length }, 'grace period is over, handing tasks back');
    for (const attempt of open) attempt.abort('shutting_down');
    await slots.waitForSettled(ABORTED_HANDLERS_MS);
    for (const attempt of open) executor.release(attempt);
  };

  return {
    name: 'worker',
    isHealthy: () => !claiming || monotonicNowMs() - claimLoop.turnedAtMs < CLAIM_LOOP_STALLED_MS,
    isReady: () => claiming,
    async start() {
      // Not awaited: with PostgreSQL away the process stands by, unready, and its other services run.
      booting ??= boot();
    },
    stop: () => (stopped ??= drain()),
  };
}

function createCancelListener(slots: Slots, channel: ReturnType<typeof createCancelChannel>): Service {
  let unsubscribe = (): void => {};
  return {
    name: 'cancel-listener',
    async start() {
      unsubscribe = await channel.subscribe((taskId) => {
        for (const attempt of slots.all()) if (attempt.task.id === taskId) attempt.abort('cancelled');
      });
    },
    async stop() {
      unsubscribe();
    },
  };
}

/** Stopped last. Handlers that ignored every signal must not keep the process alive then. */
function createConnections(
  database: Database,
  redis: RedisConnection,
  handlers: HandlerRegistry,
  slots: Slots,
  log: Logger,
): Service {
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([handlers.close(), database.close(), redis.close()]);
    if (slots.busy === 0) return;
    log.warn({ handlers: slots.busy }, 'handlers did not return and are cut off');
    setTimeout(() => process.exit(), EXIT_LINGER_MS).unref();
  };
  return { name: 'connections', start: async () => {}, stop: () => (closed ??= close()) };
}

function showSlots(slots: Slots, pulse: Pulse, metrics: Metrics): void {
  pulse.busy = slots.busy;
  pulse.deadlineMs = slots.earliestDeadlineMs() ?? 0;
  metrics.workerSlots.set({ state: 'busy' }, slots.busy);
  metrics.workerSlots.set({ state: 'free' }, slots.free);
}
