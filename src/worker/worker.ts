import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/env.ts';
import { EVENT_LOOP_TIMER_WORKER_MS, EXIT_LINGER_MS } from '../config/timings.ts';
import { systemClock } from '../core/clock.ts';
import { createAftermath } from '../engine/attempts/aftermath.ts';
import { createAttemptStore } from '../engine/attempts/attempt-store.ts';
import { createHoldings } from '../engine/attempts/holdings.ts';
import { releaseOf } from '../engine/attempts/open-outcome.ts';
import { createOutcomeLog } from '../engine/attempts/outcome-log.ts';
import { createSettler } from '../engine/attempts/settler.ts';
import { createSlots, type Slots } from '../engine/attempts/slots.ts';
import { createStarter } from '../engine/attempts/starter.ts';
import { createCancelChannel, type CancelChannel } from '../engine/cancel/cancel-channel.ts';
import { loadQueueSettings } from '../engine/order/queue-settings.ts';
import { createTaskQueue, type TaskQueue } from '../engine/order/task-queue.ts';
import { createWakeWaiter } from '../engine/order/wake-waiter.ts';
import { createHandlerRegistry, simulatesUnknownActions, type HandlerRegistry } from '../handlers/registry.ts';
import { createKubernetesClient } from '../kubernetes/client.ts';
import { findClusterAccess } from '../kubernetes/cluster-access.ts';
import { createOwnPod } from '../kubernetes/own-pod.ts';
import type { Service } from '../lifecycle/service.ts';
import { createDatabase, type Database } from '../postgres/database.ts';
import { createKeys, type Keys } from '../redis/keys.ts';
import { createRedis, type RedisConnection } from '../redis/redis.ts';
import { createRightsCheck } from '../redis/rights-check.ts';
import type { Logger } from '../telemetry/logger.ts';
import { collectProcessMetrics, createMetrics, onScrape, type Metrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createProbeServer } from '../telemetry/probe-server.ts';
import { createClaimLoop } from './claim-loop.ts';
import { createDeletionCost } from './deletion-cost.ts';
import { createExecutor } from './executor.ts';
import { createExitGuard } from './exit-guard.ts';
import { createHeartbeat } from './heartbeat.ts';
import { createOverrunWatch } from './overrun-watch.ts';
import { createPulse, monotonicNowMs } from './pulse.ts';
import { createStrayErrorGuard } from './stray-errors.ts';
import { createWorkerService } from './worker-service.ts';

/** The parts of a worker process, including those that it shares with the stand-in for the reclaimer. */
export interface WorkerProcess {
  /** In the order in which they start. */
  readonly services: readonly Service[];
  /** `<pod UID or host name>.<nonce>`, without spaces. Each process has a new one, so a reused name cannot hide a death. */
  readonly workerId: string;
  /** The port of /metrics, /healthz and /readyz; null before the start. */
  address(): { readonly port: number } | null;
  /** Rejects when the process has to end: it gave up outcomes, all slots overran, or the database must not be used. */
  readonly finished: Promise<never>;
  readonly database: Database;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Replacements for the usual parts, for callers that compose their own worker. */
export interface WorkerOverrides {
  readonly handlers?: HandlerRegistry;
  readonly settleGiveUpMs?: number;
  readonly watchdog?: { readonly overrunMs: number; readonly stalledMs: number };
}

/**
 * Wires a worker process. A store that does not answer is no error, because the worker waits for it.
 * @throws HandlersModuleError, ConfigError if the handlers cannot be used
 */
export async function createWorkerProcess(
  config: Config,
  parentLog: Logger,
  overrides: WorkerOverrides = {},
): Promise<WorkerProcess> {
  const workerId = `${(config.POD_UID || hostname()).replaceAll(/\s/g, '-')}.${randomBytes(4).toString('hex')}`;
  const log = parentLog.child({ worker_id: workerId });
  if (overrides.handlers === undefined && config.HANDLERS !== '')
    log.info({ handlers: config.HANDLERS }, 'loading the handlers');
  const handlers = overrides.handlers ?? (await createHandlerRegistry({ config }));
  if (simulatesUnknownActions(config)) {
    log.warn(
      'tasks whose action has no handler are simulated: they COMPLETE without doing anything; set HANDLERS or SIMULATE_UNKNOWN_ACTIONS=false to end this',
    );
  }
  const stores = createStores(config, log);
  const engine = createEngine({ config, workerId, log, handlers, overrides, ...stores });
  const { worker, settler, outcomeLog, holdings, overrunWatch, heartbeat, slots } = engine;
  const { database, redis, keys, queue, metrics } = stores;

  const probes = createProbeServer({
    host: config.HOST,
    port: config.METRICS_PORT,
    setting: 'METRICS_PORT',
    registry: metrics.registry,
    allowedHosts: config.ALLOWED_HOSTS,
    isHealthy: worker.isHealthy,
    isReady: worker.isReady,
    log,
  });
  const connections = createConnections(stores, handlers, slots, log);
  const cancels = createCancelListener(slots, createCancelChannel(redis, keys, log));
  const services = [
    connections,
    createExitGuard({ log, pulse: engine.pulse }),
    createStrayErrorGuard(log),
    probes,
    heartbeat,
    outcomeLog,
    settler,
    holdings,
    cancels,
    overrunWatch,
    worker,
  ];
  if (config.POD_DELETION_COST) services.push(...deletionCost(config, slots, log));
  const address = (): { readonly port: number } | null => {
    const port = probes.port();
    return port === null ? null : { port };
  };
  return { services, workerId, address, finished: engine.finished, database, redis, keys, queue, metrics, log };
}

/** The parts that connect this process to the two stores. */
type Stores = Pick<WorkerProcess, 'database' | 'redis' | 'keys' | 'queue' | 'metrics'>;

function createStores(config: Config, log: Logger): Stores {
  const metrics = createMetrics();
  collectProcessMetrics(metrics.registry, EVENT_LOOP_TIMER_WORKER_MS);
  const database = createDatabase(config, createOutage('postgresql', log, metrics, monotonicNowMs), log, metrics);
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const rights = createRightsCheck(config, keys, log);
  const redis = createRedis(config, createOutage('redis', log, metrics, monotonicNowMs), log, { rights });
  return { metrics, database, redis, keys, queue: createTaskQueue(redis, keys) };
}

interface EngineParts extends Stores {
  readonly config: Config;
  readonly workerId: string;
  readonly handlers: HandlerRegistry;
  readonly overrides: WorkerOverrides;
  readonly log: Logger;
}

/** Wires the path from a free slot to a settled outcome (claim loop → executor → settler), and the parts that watch it. */
function createEngine({ config, workerId, handlers, overrides, log, ...stores }: EngineParts) {
  const { database, redis, keys, queue, metrics } = stores;
  const store = createAttemptStore(database);
  const pulse = createPulse();
  /** Runs after every change of the slots, because a handler may block the event loop as soon as it is called. */
  const showPulse = (slots: Slots): void => {
    pulse.busy = slots.busy;
    pulse.show(slots.earliest());
  };
  const slots = createSlots(config.WORKER_SLOTS, showPulse);
  observeSlots(slots, metrics);
  const outcomeLog = createOutcomeLog({ config, log });
  const onSettled = createAftermath({ workerId, queue, metrics, outcomeLog, log });
  const settler = createSettler({ workerId, store, onSettled, log, giveUpMs: overrides.settleGiveUpMs });
  // The watchdog reads these deadlines in another thread, where `performance.now()` has another origin.
  const clock = { ...systemClock, monotonicMs: monotonicNowMs };
  const executor = createExecutor({ slots, settler, handlers, log, clock });
  const starter = createStarter({
    workerId,
    config,
    store,
    queue,
    slots,
    execute: executor.execute,
    release: (task) => settler.add(releaseOf(task)),
    metrics,
    log,
  });
  const claimLoop = createClaimLoop({
    workerId,
    config,
    queue,
    waiter: createWakeWaiter(redis, keys, config.WORKER_QUEUES, { cluster: config.REDIS_CLUSTER }),
    loadSettings: (queues) => loadQueueSettings(database, queues),
    slots,
    settler,
    starter,
    log,
    nowMs: monotonicNowMs,
  });
  const { isStarting } = starter;
  const holdings = createHoldings({
    workerId,
    store,
    queue,
    slots,
    settler,
    isStarting,
    intervalMs: config.HOLDINGS_INTERVAL,
    lostCap: config.LOST_CAP,
    metrics,
    log,
  });
  const failed = Promise.withResolvers<never>();
  const overrunWatch = createOverrunWatch({
    slots,
    graceMs: config.WORKER_OVERRUN_GRACE,
    onAllOverrun: failed.reject,
    log,
    nowMs: monotonicNowMs,
  });
  const heartbeat = createHeartbeat({
    config,
    workerId,
    queues: config.WORKER_QUEUES,
    actions: handlers.actions(),
    slots: config.WORKER_SLOTS,
    pulse,
    onTick: () => showPulse(slots),
    log,
    ...overrides.watchdog,
  });

  const worker = createWorkerService({
    config,
    database,
    claimLoop,
    executor,
    settler,
    slots,
    pulse,
    onFatal: failed.reject,
    log,
  });
  const finished = Promise.race([failed.promise, settler.failed]);
  // The caller of the process handles a rejection. Until it does, Node must not report it as unhandled.
  finished.catch(() => {});
  return { worker, settler, outcomeLog, holdings, overrunWatch, heartbeat, pulse, slots, finished };
}

/** Starts last and stops first, because a pod that is being removed needs no deletion cost. */
function deletionCost(config: Config, slots: Slots, log: Logger): Service[] {
  const access = findClusterAccess(config);
  if (access === null) {
    log.warn("the pod's deletion cost cannot be told: the pod has no service account token");
    return [];
  }
  const pod = { name: config.POD_NAME, namespace: config.POD_NAMESPACE };
  return [createDeletionCost({ slots, ownPod: createOwnPod(createKubernetesClient(access), pod), log })];
}

function observeSlots(slots: Slots, metrics: Metrics): void {
  const { workerSlots } = metrics;
  onScrape(workerSlots, () => {
    const overrun = slots.overrun(monotonicNowMs()).length;
    workerSlots.set({ state: 'busy' }, slots.busy - overrun);
    workerSlots.set({ state: 'overrun' }, overrun);
    workerSlots.set({ state: 'free' }, slots.free);
  });
}

function createCancelListener(slots: Slots, channel: CancelChannel): Service {
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

/** Stops last. Handlers that ignored every signal must not keep the process alive after that. */
function createConnections({ database, redis }: Stores, handlers: HandlerRegistry, slots: Slots, log: Logger): Service {
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([handlers.close(), database.close(), redis.close()]);
    if (slots.busy === 0) return;
    log.warn({ handlers: slots.busy }, 'handlers did not return, the process exits without waiting for them');
    setTimeout(() => process.exit(), EXIT_LINGER_MS).unref();
  };
  return { name: 'connections', start: async () => {}, stop: () => (closed ??= close()) };
}
