import { DEAD_WORKERS_MAX, WORKER_DESCRIPTION_KEPT_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';
import { createWorkerRegistry, type WorkerEnd } from './worker-registry.ts';

export interface Silence {
  readonly workerId: string;
  /** Milliseconds since its last beat, or since the end of the last gap without any beats if that is later. */
  readonly silentMs: number;
  /** Milliseconds since 1970 by Redis' clock; null if the worker never beat. */
  readonly lastBeatMs: number | null;
}

/**
 * Tells which workers beat and which are silent.
 * Every method throws `StoreUnavailableError` when Redis is unavailable or refuses.
 */
export interface Presence {
  /**
   * Writes a beat of the sweep. It proves that Redis accepts beats; without this proof no worker may be judged.
   * @param gapMs milliseconds without any beat that count as a gap
   */
  beat(gapMs: number): Promise<void>;
  /** Returns the silence of every registered worker and of the given workers. */
  silences(workerIds: readonly string[]): Promise<Silence[]>;
  /** Returns why a worker ended, if the worker said so. */
  lastWords(workerId: string): Promise<WorkerEnd | null>;
  /** Removes workers that have not beaten since from the registry, and lists them as dead. */
  forget(silences: readonly Silence[]): Promise<void>;
  /** Returns the number of registered workers. */
  workerCount(): Promise<number>;
}

const BEAT = loadScript(import.meta.dirname, 'beat');
const SILENCE = loadScript(import.meta.dirname, 'silence');
const FORGET = loadScript(import.meta.dirname, 'forget');
const NOTE_DEAD = loadScript(import.meta.dirname, 'note-dead');

/** The sweep's own entry in the registry. Entries that begin with @ are not workers. */
const SWEEP = '@sweep';

/** Number of entries in the registry that are not workers: @last, @gap and @sweep. */
const MARKS = 3;

export function createPresence(redis: RedisConnection, keys: Keys): Presence {
  const { lastWords } = createWorkerRegistry(redis, keys);
  return {
    lastWords,
    async beat(gapMs) {
      await redis.script(BEAT, [keys.workers], [SWEEP, gapMs]);
    },
    async silences(workerIds) {
      const reply = (await redis.script(SILENCE, [keys.workers], workerIds)) as string[];
      const silences: Silence[] = [];
      for (let i = 0; i < reply.length; i += 3) {
        const [workerId, silent, beat] = reply.slice(i, i + 3) as [string, string, string];
        silences.push({ workerId, silentMs: Number(silent), lastBeatMs: beat === '' ? null : Number(beat) });
      }
      return silences;
    },
    async forget(silences) {
      const args = silences.flatMap(({ workerId, lastBeatMs }) => (lastBeatMs === null ? [] : [workerId, lastBeatMs]));
      if (args.length === 0) return;
      // People can see the latest dead workers for a day.
      const latest = silences
        .flatMap(({ workerId, lastBeatMs }) => (lastBeatMs === null ? [] : [{ workerId, lastBeatMs }]))
        .toSorted((a, b) => b.lastBeatMs - a.lastBeatMs)
        .slice(0, DEAD_WORKERS_MAX)
        .flatMap(({ workerId, lastBeatMs }) => [workerId, lastBeatMs]);
      await redis.script(NOTE_DEAD, [keys.deadWorkers], [WORKER_DESCRIPTION_KEPT_MS, DEAD_WORKERS_MAX, ...latest]);
      await redis.script(FORGET, [keys.workers], args);
    },
    async workerCount() {
      const entries = await redis.call((client) => client.zcard(keys.workers));
      return Math.max(0, entries - MARKS);
    },
  };
}
