import type { Config } from '../config/env.ts';
import type { Keys } from './keys.ts';
import type { RedisConnection } from './redis.ts';
import { loadScript } from './scripts.ts';

/** What a worker tells of itself with every beat. */
export interface WorkerDescription {
  readonly id: string;
  readonly host: string;
  /** In Kubernetes; missing where another version wrote it. */
  readonly pod?: { readonly name: string; readonly namespace: string } | undefined;
  readonly pid: number;
  readonly queues: readonly string[];
  readonly slots: number;
  readonly busy: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** True once it has stopped claiming. */
  readonly draining: boolean;
}

export interface RegisteredWorker {
  readonly id: string;
  /** Milliseconds since 1970 by Redis' clock. */
  readonly lastBeatMs: number;
  /** Null when its heartbeat key has expired. */
  readonly description: WorkerDescription | null;
}

export type BeatSettings = Pick<Config, 'HEARTBEAT_TTL' | 'HEARTBEAT_GAP'>;

export interface WorkerRegistry {
  /** Beats for a worker: the registry that verdicts use, and the key that people and tools read. */
  beat(description: WorkerDescription, settings: BeatSettings): Promise<void>;
  /** Takes a worker that stops by itself out of the registry. */
  leave(workerId: string): Promise<void>;
  list(): Promise<RegisteredWorker[]>;
  /** What workers last told of themselves, in their order; null after one time to live without a beat. */
  descriptions(workerIds: readonly string[]): Promise<(WorkerDescription | null)[]>;
}

const BEAT = loadScript('beat');
const HEARTBEAT = loadScript('heartbeat');

/** Entries of the registry that are no workers begin with it. */
const MARK = '@';

export function createWorkerRegistry(redis: RedisConnection, keys: Keys): WorkerRegistry {
  const descriptions: WorkerRegistry['descriptions'] = async (workerIds) => {
    const texts = await Promise.all(workerIds.map((id) => redis.call((client) => client.get(keys.heartbeat(id)))));
    return texts.map(parseDescription);
  };
  return {
    async beat(description, settings) {
      // Two commands: the keys lie in different slots of a Cluster.
      await Promise.all([
        redis.script(BEAT, [keys.workers], [description.id, settings.HEARTBEAT_GAP]),
        redis.script(
          HEARTBEAT,
          [keys.heartbeat(description.id)],
          [JSON.stringify(description), settings.HEARTBEAT_TTL],
        ),
      ]);
    },

    async leave(workerId) {
      await Promise.all([
        redis.call((client) => client.zrem(keys.workers, workerId)),
        redis.call((client) => client.del(keys.heartbeat(workerId))),
      ]);
    },

    async list() {
      const flat = await redis.call((client) => client.zrange(keys.workers, '0', '-1', 'WITHSCORES'));
      const entries: { id: string; lastBeatMs: number }[] = [];
      for (let i = 0; i < flat.length; i += 2) {
        const id = flat[i] as string;
        if (!id.startsWith(MARK)) entries.push({ id, lastBeatMs: Number(flat[i + 1]) });
      }
      const described = await descriptions(entries.map(({ id }) => id));
      return entries.map((entry, i) => ({ ...entry, description: described[i] ?? null }));
    },
    descriptions,
  };
}

function parseDescription(text: string | null): WorkerDescription | null {
  return text === null ? null : (JSON.parse(text) as WorkerDescription);
}
