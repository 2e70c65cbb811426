import { randomBytes } from 'node:crypto';
import type { Position } from '../../src/core/priority.ts';
import { positionOf } from '../../src/core/priority.ts';
import type { TaskStatus } from '../../src/core/task.ts';
import { createSweepQueue, type SweepQueue } from '../../src/queue/sweep-queue.ts';
import type { PodEvidence } from '../../src/reclaimer/pod-evidence.ts';
import { createSweeper, type Sweeper } from '../../src/reclaimer/sweep.ts';
import type { SweepLimits, SweepSettings } from '../../src/reclaimer/sweep-context.ts';
import type { StartResult } from '../../src/store/task-store.ts';
import { createSweepStore, type SweepStore } from '../../src/store/sweep-store.ts';
import type { Logger } from '../../src/telemetry/logger.ts';
import { openParts, type TestParts } from './parts.ts';

/** The parts of a sweep beside those of the hot path. */
export interface SweepTestParts extends TestParts {
  readonly sweepStore: SweepStore;
  readonly sweepQueue: SweepQueue;
  newSweeper(options?: NewSweeper): Sweeper;
  /** Notes a beat of a worker that many milliseconds ago. */
  beaten(workerId: string, agoMs: number): Promise<void>;
  /** Sets the end of the last gap in everybody's beats. */
  gapEnded(agoMs: number): Promise<void>;
  /** Claims tasks as a worker does, without starting them. @returns members */
  claim(workerId: string, most?: number, queue?: string): Promise<readonly string[]>;
  /** Claims and starts tasks as a worker does. */
  start(workerId: string, most?: number, queue?: string): Promise<StartResult[]>;
  statusOf(id: string): Promise<TaskStatus | null>;
  /** Runs SQL that only a test needs. */
  sql<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface NewSweeper {
  readonly holder?: string;
  readonly limits?: Partial<SweepLimits>;
  readonly settings?: Partial<SweepSettings>;
  readonly log?: Logger;
  readonly store?: SweepStore;
  readonly sweepQueue?: SweepQueue;
  readonly pods?: PodEvidence;
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
    newSweeper: ({ holder, limits, settings, ...others } = {}) =>
      createSweeper({
        store: sweepStore,
        sweepQueue,
        queue,
        log,
        ...others,
        settings: { ...config, ...settings },
        holder: holder ?? `sweeper-${randomBytes(4).toString('hex')}`,
        limits: { lagMs: 0, ...limits },
      }),
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
