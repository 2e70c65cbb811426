import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/env.ts';
import { FIRST_CONTACT_MS } from '../config/timings.ts';
import { systemClock } from '../core/clock.ts';
import { createTaskQueue } from '../engine/order/task-queue.ts';
import { createPresence } from '../engine/presence/presence.ts';
import { createWorkerRegistry } from '../engine/presence/worker-registry.ts';
import { openEngineDutyParts } from '../engine/sweep/duties.ts';
import { createLeaseStore } from '../engine/sweep/lease-store.ts';
import { createPodEvidence } from '../engine/sweep/reclaim/pod-evidence.ts';
import { createSweeper } from '../engine/sweep/sweep.ts';
import { createKubernetesClient } from '../kubernetes/client.ts';
import { findClusterAccess } from '../kubernetes/cluster-access.ts';
import { createPodCheck, type PodCheck } from '../kubernetes/pod-check.ts';
import type { Service } from '../lifecycle/service.ts';
import { createDatabase, type Database } from '../postgres/database.ts';
import { createKeys } from '../redis/keys.ts';
import { createRedis, type RedisConnection } from '../redis/redis.ts';
import { createRightsCheck } from '../redis/rights-check.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { createDuties } from './duties.ts';
import { createReclaimer } from './reclaimer.ts';

/** The sweep needs few connections, because its statements run one after the other. */
const POOL_MAX = 2;

export interface ReclaimerProcess {
  /** In the order in which they start. */
  readonly services: readonly Service[];
  /** Resolves when the window is over, or rejects if no process swept in it. A loop resolves only when stopped. */
  readonly finished: Promise<void>;
}

/** Wires a reclaimer. It loads neither ORM nor HTTP server, because it starts every minute and has to start fast. */
export async function createReclaimerProcess(
  config: Config,
  parentLog: Logger,
  options: { readonly loop: boolean },
): Promise<ReclaimerProcess> {
  const holder = `${hostname()}.${randomBytes(4).toString('hex')}`;
  const log = parentLog.child({ holder });
  const metrics = createMetrics();
  const database = createDatabase(
    { ...config, DATABASE_POOL_MAX: POOL_MAX },
    createOutage('postgresql', log, metrics, systemClock.monotonicMs),
    log,
    metrics,
  );
  const keys = createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX);
  const rights = createRightsCheck(config, keys, log);
  const redis = createRedis(config, createOutage('redis', log, metrics, systemClock.monotonicMs), log, { rights });
  const podCheck = openPodCheck(config, log);
  const pods = podCheck && createPodEvidence(podCheck, createWorkerRegistry(redis, keys));
  const connections = { database, redis, keys, queue: createTaskQueue(redis, keys) };
  const sweeper = createSweeper({
    settings: config,
    holder,
    leases: createLeaseStore(database),
    presence: createPresence(redis, keys),
    checkRights: redis.checkRights,
    duties: createDuties(connections, config, { ...openEngineDutyParts(connections), pods }),
    pods,
    log,
  });
  const reclaimer = createReclaimer({ sweeper, settings: config, loop: options.loop, log });
  return { services: [createConnections(database, redis, podCheck), reclaimer], finished: reclaimer.finished };
}

/** Returns undefined outside a cluster, without a token, and if the check is switched off. */
function openPodCheck(config: Config, log: Logger): PodCheck | undefined {
  const access = config.KUBERNETES_POD_CHECK === 'auto' ? findClusterAccess(config) : null;
  if (access === null) return undefined;
  return createPodCheck({ client: createKubernetesClient(access), namespace: access.namespace, log });
}

function createConnections(database: Database, redis: RedisConnection, podCheck: PodCheck | undefined): Service {
  return {
    name: 'connections',
    // The passes wait for a Redis that does not answer, so the start waits only a moment.
    start: () => redis.untilReady(FIRST_CONTACT_MS),
    async stop() {
      await Promise.all([redis.close(), database.close(), podCheck?.close()]);
    },
  };
}
