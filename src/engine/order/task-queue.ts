import type { Outcome } from '../../core/outcome.ts';
import { memberOf, positionOf, scoreOf, type Position } from '../../core/priority.ts';
import { inChunks } from '../../redis/in-chunks.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import { loadScript } from '../../redis/scripts.ts';

export interface Runnable {
  readonly position: Position;
  /** Milliseconds until the task may start; 0 means at once. */
  readonly waitMs: number;
}

export interface Returned {
  readonly position: Position;
  /** Milliseconds until the task may be claimed again; 0 means at once, null drops it. */
  readonly waitMs: number | null;
}

export interface SettledMember {
  readonly position: Position;
  readonly verb: Outcome['verb'] | 'abort';
  /** Milliseconds until a retry is due; 0 for every other verb. */
  readonly waitMs: number;
}

export interface Claim {
  /** `unknown`: Redis has no settings of the queue; load them with `setSettings` first. */
  readonly state: 'open' | 'paused' | 'unknown';
  /** Members in the order in which they have to start. */
  readonly members: readonly string[];
  /** Milliseconds until the next delayed member is due; null if there is none. */
  readonly nextDueMs: number | null;
}

export interface QueueSettings {
  /** Grows with every change of the row. */
  readonly version: number;
  readonly paused: boolean;
}

/** Number of tasks of one queue, by state; `due` counts delayed tasks that may start now. */
export interface QueueCounts {
  readonly ready: number;
  readonly due: number;
  readonly delayed: number;
  readonly inflight: number;
  readonly paused: boolean;
  /** Ids of the next ready tasks, a few of each priority. */
  readonly nextIds: readonly string[];
}

/**
 * The order of the queues in Redis, an index of the tasks in PostgreSQL. Every method throws `StoreUnavailableError`
 * when Redis is unavailable; reconcile repairs what Redis then misses.
 */
export interface TaskQueue {
  /** @returns the number of new members */
  enqueue(queue: string, tasks: readonly Runnable[]): Promise<number>;
  claim(queue: string, workerId: string, most: number): Promise<Claim>;
  settle(queue: string, workerId: string, settled: readonly SettledMember[]): Promise<void>;
  release(queue: string, workerId: string, returned: readonly Returned[]): Promise<void>;
  /** Removes waiting tasks after a cancel. */
  drop(queue: string, positions: readonly Position[]): Promise<void>;
  /**
   * Copies settings from their row. A newer version in Redis is kept.
   * @param lostVersion a newer version that is overwritten nevertheless, because PostgreSQL has lost that change
   */
  setSettings(queue: string, settings: QueueSettings, lostVersion?: number): Promise<void>;
  counts(queue: string): Promise<QueueCounts>;
  /** Deletes all keys of a queue that has no tasks and is being deleted. */
  forget(queue: string): Promise<void>;
  /** Returns the number of attempts settled since Redis last lost its data, by verb. */
  settledCounts(queue: string): Promise<Readonly<Record<string, number>>>;
}

const ENQUEUE = loadScript(import.meta.dirname, 'enqueue');
const CLAIM = loadScript(import.meta.dirname, 'claim');
const SETTLE = loadScript(import.meta.dirname, 'settle');
const RELEASE = loadScript(import.meta.dirname, 'release');
const SET_SETTINGS = loadScript(import.meta.dirname, 'set-settings');
const COUNTS = loadScript(import.meta.dirname, 'counts');

/** Stands between the members of one argument or reply. No text that PostgreSQL keeps contains it. */
const SEPARATOR = '\0';

const PROMOTED_PER_CLAIM = 500;

/**
 * Number of next tasks to read for each priority. One is not enough: tasks keep their place, so the next task may have
 * become ready just now, and a later one long ago.
 */
const NEXT_OF_PRIORITY = 3;

export function createTaskQueue(redis: RedisConnection, keys: Keys): TaskQueue {
  return {
    async enqueue(queue, tasks) {
      const { ready, delayed, inflight, wake } = keys.queue(queue);
      const replies = await inChunks(tasks, (chunk) => {
        const args = chunk.flatMap(({ position, waitMs }) => [
          memberOf(position),
          scoreOf(position),
          Math.ceil(waitMs),
        ]);
        return redis.script(ENQUEUE, [ready, delayed, inflight, wake], args);
      });
      return replies.reduce<number>((sum, reply) => sum + Number(reply), 0);
    },

    async claim(queue, workerId, most) {
      const { ready, delayed, inflight, wake, settings } = keys.queue(queue);
      const reply = await redis.script(
        CLAIM,
        [ready, delayed, inflight, wake, settings],
        [workerId, most, PROMOTED_PER_CLAIM],
      );
      const [state, wait, members] = reply as [Claim['state'], number, string];
      return { state, members: members === '' ? [] : members.split(SEPARATOR), nextDueMs: wait < 0 ? null : wait };
    },

    async settle(queue, workerId, settled) {
      const { delayed, inflight, wake, settled: counters } = keys.queue(queue);
      await inChunks(settled, (chunk) => {
        return redis.script(SETTLE, [delayed, inflight, wake, counters], [workerId, ...settleArguments(chunk)]);
      });
    },

    async release(queue, workerId, returned) {
      const { ready, delayed, inflight, wake } = keys.queue(queue);
      await inChunks(returned, (chunk) => {
        const args = chunk.flatMap(({ position, waitMs }) => [
          memberOf(position),
          scoreOf(position),
          waitMs === null ? -1 : Math.ceil(waitMs),
        ]);
        return redis.script(RELEASE, [ready, delayed, inflight, wake], [workerId, ...args]);
      });
    },

    async drop(queue, positions) {
      const { ready, delayed } = keys.queue(queue);
      await inChunks(positions, (chunk) => {
        const members = chunk.map(memberOf);
        return Promise.all([ready, delayed].map((key) => redis.call((client) => client.zrem(key, ...members))));
      });
    },

    async setSettings(queue, { version, paused }, lostVersion = 0) {
      const { settings, wake } = keys.queue(queue);
      await redis.script(SET_SETTINGS, [settings, wake], [version, paused ? 1 : 0, lostVersion]);
    },

    async counts(queue) {
      const { ready, delayed, inflight, settings } = keys.queue(queue);
      const reply = await redis.script(COUNTS, [ready, delayed, inflight, settings], [NEXT_OF_PRIORITY]);
      const [readyCount, due, later, running, paused, ...next] = reply as [
        number,
        number,
        number,
        number,
        number,
        ...string[],
      ];
      return {
        ready: readyCount,
        due,
        delayed: later,
        inflight: running,
        paused: paused === 1,
        nextIds: next.flatMap((member) => positionOf(member)?.id ?? []),
      };
    },

    async forget(queue) {
      const all = Object.values(keys.queue(queue)) as string[];
      await redis.call((client) => client.del(...all));
    },

    async settledCounts(queue) {
      const counts = await redis.call((client) => client.hgetall(keys.queue(queue).settled));
      return Object.fromEntries(Object.entries(counts).map(([verb, count]) => [verb, Number(count)]));
    },
  };
}

/** Returns the triples of settle.lua: neighbours with the same verb and wait share one. */
function settleArguments(settled: readonly SettledMember[]): (string | number)[] {
  const args: (string | number)[] = [];
  let members: string[] = [];
  settled.forEach(({ position, verb, waitMs }, i) => {
    members.push(memberOf(position));
    const next = settled[i + 1];
    if (next?.verb === verb && next.waitMs === waitMs) return;
    args.push(members.join(SEPARATOR), verb, Math.ceil(waitMs));
    members = [];
  });
  return args;
}
