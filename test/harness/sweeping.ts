import { randomBytes } from 'node:crypto';
import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../src/config/timings.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { Position } from '../../src/core/priority.ts';
import { positionOf } from '../../src/core/priority.ts';
import type { TaskStatus } from '../../src/core/task.ts';
import type { StartResult } from '../../src/engine/attempts/attempt-store.ts';
import { createPresence, type Presence } from '../../src/engine/presence/presence.ts';
import { createLeaseStore, type LeaseStore } from '../../src/engine/sweep/lease-store.ts';
import { createPruneStore, type PruneStore } from '../../src/engine/sweep/prune/prune-store.ts';
import type { PodEvidence } from '../../src/engine/sweep/reclaim/pod-evidence.ts';
import { createReclaimStore, type ReclaimStore } from '../../src/engine/sweep/reclaim/reclaim-store.ts';
import { createReconcileQueue, type ReconcileQueue } from '../../src/engine/sweep/reconcile/reconcile-queue.ts';
import { createReconcileStore, type ReconcileStore } from '../../src/engine/sweep/reconcile/reconcile-store.ts';
import type { SweepLimits, SweepSettings } from '../../src/engine/sweep/sweep-context.ts';
import { createSweeper, type Sweeper } from '../../src/engine/sweep/sweep.ts';
import { createQueueStore, type QueueStore } from '../../src/features/queues/queue-store.ts';
import type { Database } from '../../src/postgres/database.ts';
import { createDuties, type FeatureDutySettings } from '../../src/reclaimer/duties.ts';
import type { Keys } from '../../src/redis/keys.ts';
import type { RedisConnection } from '../../src/redis/redis.ts';
import type { Logger } from '../../src/telemetry/logger.ts';
import { openParts, type TestParts } from './parts.ts';

/** All statements of a pass in one object, so that tests can replace single ones. */
export type SweepStore = LeaseStore & ReclaimStore & ReconcileStore & PruneStore & QueueStore;

export function createSweepStore(database: Database): SweepStore {
  return {
    ...createLeaseStore(database),
    ...createReclaimStore(database),
    ...createReconcileStore(database),
    ...createPruneStore(database),
    ...createQueueStore(database, SWEEP_STATEMENT_TIMEOUT_MS),
  };
}

/** All that a pass needs from Redis besides the order of the queues. */
export interface SweepQueue extends Presence, ReconcileQueue {
  checkRights(): Promise<void>;
}

export function createSweepQueue(redis: RedisConnection, keys: Keys): SweepQueue {
  const { checkRights } = redis;
  return { ...createPresence(redis, keys), ...createReconcileQueue(redis, keys), checkRights };
}

/** The parts of the hot path and the parts of a sweep. */
export interface SweepTestParts extends TestParts {
  readonly sweepStore: SweepStore;
  readonly sweepQueue: SweepQueue;
  newSweeper(options?: NewSweeper): Sweeper;
  /** Records a heartbeat of a worker `agoMs` milliseconds ago. */
  beaten(workerId: string, agoMs: number): Promise<void>;
  /** Sets the end of the last gap in the heartbeats of all workers. */
  gapEnded(agoMs: number): Promise<void>;
  /** Claims tasks as a worker does, without starting them. @returns members */
  claim(workerId: string, most?: number, queue?: string): Promise<readonly string[]>;
  /** Claims and starts tasks as a worker does. */
  start(workerId: string, most?: number, queue?: string): Promise<StartResult[]>;
  statusOf(id: string): Promise<TaskStatus | null>;
  /** Runs SQL of a test. */
  sql<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface NewSweeper {
  readonly holder?: string;
  readonly limits?: Partial<SweepLimits>;
  readonly settings?: Partial<SweepSettings & FeatureDutySettings>;
  readonly log?: Logger;
  readonly store?: SweepStore;
  readonly sweepQueue?: SweepQueue;
  readonly pods?: PodEvidence;
  readonly clock?: Clock;
}

export async function openSweepParts(env: Record<string, string>): Promise<SweepTestParts> {
  const parts = await openParts(env);
  const { database, redis, keys, queue, store, log, config } = parts;
  const sweepStore = createSweepStore(database);
  const sweepQueue = createSweepQueue(redis, keys);
  let nth = 0;
  const sql: SweepTestParts['sql'] = (text, values = []) =>
    database.run({ name: `test-sweeping-${process.pid}-${nth++}`, text }, values);
  const redisMs = async (agoMs: number): Promise<number> => Math.floor(await sweepQueue.nowMs()) - agoMs;
  const claim = async (workerId: string, most = 1_000, name = 'default'): Promise<readonly string[]> => {
    const { members } = await queue.claim(name, workerId, most);
    return members;
  };

  return {
    ...parts,
    sweepStore,
    sweepQueue,
    newSweeper({ holder, limits, settings: changes, ...others } = {}) {
      const { store: asked, sweepQueue: members } = { store: sweepStore, sweepQueue, ...others };
      const settings = { ...config, ...changes };
      const { pods } = others;
      const engine = { reclaims: asked, store: asked, prunes: asked, presence: members, members, queue, pods };
      return createSweeper({
        leases: asked,
        presence: members,
        checkRights: () => members.checkRights(),
        duties: createDuties({ database, redis, keys, queue }, settings, engine),
        pods,
        ...(others.clock === undefined ? {} : { clock: others.clock }),
        log: others.log ?? log,
        settings,
        holder: holder ?? `sweeper-${randomBytes(4).toString('hex')}`,
        limits: { lagMs: 0, ...limits },
      });
    },
    async beaten(workerId, agoMs) {
      const at = await redisMs(agoMs);
      await redis.call((client) => client.zadd(keys.workers, at, workerId));
    },
    async gapEnded(agoMs) {
      const [gap, now] = [await redisMs(agoMs), await redisMs(0)];
      await redis.call((client) => client.zadd(keys.workers, gap, '@gap', now, '@last'));
    },
    claim,
    async start(workerId, most, name) {
      const members = await claim(workerId, most, name);
      const ids = members.map((member) => (positionOf(member) as Position).id);
      return store.start(ids, workerId, config.LOST_CAP, true);
    },
    async statusOf(id) {
      const [row] = await sql<{ status: TaskStatus }>('SELECT status::text AS status FROM tasks WHERE id = $1', [id]);
      return row?.status ?? null;
    },
    sql,
  };
}
