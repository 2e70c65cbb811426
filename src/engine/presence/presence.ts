import { DEAD_WORKERS_MAX, WORKER_DESCRIPTION_KEPT_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';
import { createWorkerRegistry, type WorkerEnd } from './worker-registry.ts';

export interface Silence {
  readonly workerId: string;
  /** Milliseconds since its last beat or since the end of the last gap in everybody's beats. */
  readonly silentMs: number;
  /** Milliseconds since 1970 by Redis' clock; null if it never beat. */
  readonly lastBeatMs: number | null;
}

/** Who beats and who does not. Every method throws `StoreUnavailableError` when Redis is away or refuses. */
export interface Presence {
  /**
   * Shows that Redis takes beats; without it there is no verdict on anybody.
   * @param gapMs milliseconds without any beat that make a gap
   */
  beat(gapMs: number): Promise<void>;
  /** Of every registered worker and of those asked for. */
  silences(workerIds: readonly string[]): Promise<Silence[]>;
  /** Why a worker ended, if it said so itself. */
  lastWords(workerId: string): Promise<WorkerEnd | null>;
  /** Takes workers out of the registry that have not beaten since, and notes them as dead. */
  forget(silences: readonly Silence[]): Promise<void>;
  /** Registered workers. */
  workerCount(): Promise<number>;
}

const BEAT = loadScript(import.meta.dirname, 'beat');
const SILENCE = loadScript(import.meta.dirname, 'silence');
const FORGET = loadScript(import.meta.dirname, 'forget');
const NOTE_DEAD = loadScript(import.meta.dirname, 'note-dead');

/** The sweep's own entry of the registry; what begins with @ is no worker. */
const SWEEP = '@sweep';

/** Entries of the registry that are no workers: @last, @gap and @sweep. */
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
      // For people, who see the latest ones for a day.
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
