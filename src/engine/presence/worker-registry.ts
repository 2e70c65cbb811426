import type { Config } from '../../config/env.ts';
import { WORKER_DESCRIPTION_KEPT_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';

/** The description of a worker, which it sends with every beat. */
export interface WorkerDescription {
  readonly id: string;
  readonly host: string;
  /** Set in Kubernetes only; missing if another version wrote the description. */
  readonly pod?: { readonly name: string; readonly namespace: string } | undefined;
  readonly pid: number;
  readonly queues: readonly string[];
  /**
   * The actions that it has handlers for, the first 200 in alphabetical order.
   * Missing if another version wrote the description.
   */
  readonly actions?: readonly string[] | undefined;
  readonly slots: number;
  readonly busy: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** True once it has stopped claiming. */
  readonly draining: boolean;
  /**
   * Milliseconds between the last turn of its main loop and the beat.
   * Missing if another version wrote the description.
   */
  readonly loopAgeMs?: number | undefined;
}

/** The reason that a worker gave for its end. */
export interface WorkerEnd {
  readonly reason: 'watchdog' | 'exit';
  readonly message: string;
}

export interface RegisteredWorker {
  readonly id: string;
  /** Milliseconds since 1970 by Redis' clock. */
  readonly lastBeatMs: number;
  /** False when its heartbeat key has expired. */
  readonly alive: boolean;
  /** Its latest description; null if that is more than a day old. */
  readonly description: WorkerDescription | null;
  /** Null while it lives, or if it ended without giving a reason. */
  readonly end: WorkerEnd | null;
}

export type BeatSettings = Pick<Config, 'HEARTBEAT_TTL' | 'HEARTBEAT_GAP'>;

export interface WorkerRegistry {
  /**
   * Writes a beat of a worker: its entry in the registry, which verdicts use, its heartbeat key, which people and tools
   * read, and its description, which is kept after its death.
   */
  beat(description: WorkerDescription, settings: BeatSettings): Promise<void>;
  /** Stores for a day why a worker is about to end. */
  end(description: WorkerDescription, end: WorkerEnd): Promise<void>;
  /** Removes a worker that stops normally from the registry. */
  leave(workerId: string): Promise<void>;
  /** Returns the registered workers, and the workers that were presumed dead during the last day. */
  list(): Promise<RegisteredWorker[]>;
  /** Returns how many workers that beat and claim serve each queue. A queue without such a worker is missing. */
  serving(): Promise<ReadonlyMap<string, number>>;
  /** Returns the latest descriptions of workers, in the given order; null after a day without a beat. */
  descriptions(workerIds: readonly string[]): Promise<(WorkerDescription | null)[]>;
  /** Returns why a worker ended, if it said so. */
  lastWords(workerId: string): Promise<WorkerEnd | null>;
}

const BEAT = loadScript(import.meta.dirname, 'beat');
const HEARTBEAT = loadScript(import.meta.dirname, 'heartbeat');

/** Entries of the registry that are not workers begin with this character. */
const MARK = '@';

export function createWorkerRegistry(redis: RedisConnection, keys: Keys): WorkerRegistry {
  const keep = (id: string, told: Told): Promise<unknown> =>
    redis.script(HEARTBEAT, [keys.worker(id)], [JSON.stringify(told), WORKER_DESCRIPTION_KEPT_MS]);
  const told = async (ids: readonly string[]): Promise<(Told | null)[]> => {
    const texts = await Promise.all(ids.map((id) => redis.call((client) => client.get(keys.worker(id)))));
    return texts.map((text) => (text === null ? null : (JSON.parse(text) as Told)));
  };

  /** Returns the workers of a sorted set, with the time of their last beat. */
  const entriesOf = async (key: string): Promise<{ id: string; lastBeatMs: number }[]> => {
    const flat = await redis.call((client) => client.zrange(key, '0', '-1', 'WITHSCORES'));
    const entries: { id: string; lastBeatMs: number }[] = [];
    for (let i = 0; i < flat.length; i += 2) {
      const id = flat[i] as string;
      if (!id.startsWith(MARK)) entries.push({ id, lastBeatMs: Number(flat[i + 1]) });
    }
    return entries;
  };

  return {
    async beat(description, settings) {
      // Three separate commands, because the keys are in different slots of a Redis Cluster.
      await Promise.all([
        redis.script(BEAT, [keys.workers], [description.id, settings.HEARTBEAT_GAP]),
        redis.script(
          HEARTBEAT,
          [keys.heartbeat(description.id)],
          [JSON.stringify(description), settings.HEARTBEAT_TTL],
        ),
        keep(description.id, { description }),
      ]);
    },

    async end(description, end) {
      await keep(description.id, { description, end });
    },

    async leave(workerId) {
      await Promise.all([
        redis.call((client) => client.zrem(keys.workers, workerId)),
        redis.call((client) => client.zrem(keys.deadWorkers, workerId)),
        redis.call((client) => client.del(keys.heartbeat(workerId))),
        redis.call((client) => client.del(keys.worker(workerId))),
      ]);
    },

    async list() {
      const [registered, dead] = await Promise.all([entriesOf(keys.workers), entriesOf(keys.deadWorkers)]);
      // A worker that was presumed dead and came back is in both sets.
      const back = new Set(registered.map(({ id }) => id));
      const entries = [...registered, ...dead.filter(({ id }) => !back.has(id))];
      const ids = entries.map(({ id }) => id);
      const [kept, beating] = await Promise.all([
        told(ids),
        Promise.all(ids.map((id) => redis.call((client) => client.exists(keys.heartbeat(id))))),
      ]);
      return entries.map((entry, i) => ({
        ...entry,
        alive: beating[i] === 1,
        description: kept[i]?.description ?? null,
        end: kept[i]?.end ?? null,
      }));
    },

    async serving() {
      const ids = (await entriesOf(keys.workers)).map(({ id }) => id);
      const texts = await Promise.all(ids.map((id) => redis.call((client) => client.get(keys.heartbeat(id)))));
      const counts = new Map<string, number>();
      for (const text of texts) {
        const description = text === null ? null : (JSON.parse(text) as WorkerDescription);
        if (description === null || description.draining) continue;
        for (const queue of description.queues) counts.set(queue, (counts.get(queue) ?? 0) + 1);
      }
      return counts;
    },

    async descriptions(workerIds) {
      return (await told(workerIds)).map((worker) => worker?.description ?? null);
    },

    async lastWords(workerId) {
      const [worker] = await told([workerId]);
      return worker?.end ?? null;
    },
  };
}

/** The record that is kept of a worker. */
interface Told {
  readonly description: WorkerDescription;
  readonly end?: WorkerEnd;
}
