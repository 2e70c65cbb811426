import { memberOf, scoreOf, type Position } from '../../../core/priority.ts';
import { inChunks } from '../../../redis/in-chunks.ts';
import { KEY_FORMAT, type Keys } from '../../../redis/keys.ts';
import { redisNowMs } from '../../../redis/redis-time.ts';
import type { RedisConnection } from '../../../redis/redis.ts';
import { loadScript } from '../../../redis/scripts.ts';
import { createServerMark } from '../../../redis/server-mark.ts';

/** A claim as `inflight` holds it; `value` is worker and time, and tells it from every other claim of the member. */
export interface ClaimEntry {
  readonly member: string;
  readonly value: string;
}

export interface InflightPage {
  /** '0' at the end. */
  readonly cursor: string;
  readonly holders: readonly string[];
  readonly claims: readonly ClaimEntry[];
}

/** Which claims a page is to give: those of an age, and those of some workers at any age. */
export interface ClaimFilter {
  readonly minAgeMs: number;
  readonly maxAgeMs: number;
  readonly workerIds: readonly string[];
}

/** A claim that is to be ended: the task goes where it belongs, or nowhere. */
export interface EndedClaim {
  readonly claim: ClaimEntry;
  /** Null drops it; `waitMs` below 1 is at once. */
  readonly back: { readonly position: Position; readonly waitMs: number } | null;
}

export interface QueueLook {
  /** `lost`: Redis lost its data, or holds those of another server's past or of another format. */
  readonly state: 'whole' | 'lost' | 'rebuilding';
  readonly nonce: string | null;
  readonly waiting: number;
  readonly inflight: number;
  /** Version of the settings that it has; 0 if none. */
  readonly settingsVersion: number;
}

export type MemberSet = 'ready' | 'delayed' | 'inflight';

export interface MemberPage {
  readonly cursor: string;
  readonly members: readonly string[];
  /** Of `inflight` only: the members with their values. */
  readonly claims: readonly ClaimEntry[];
}

/** Redis' side of the comparison with PostgreSQL. Every method throws `StoreUnavailableError` when Redis is away or refuses. */
export interface ReconcileQueue {
  look(queue: string): Promise<QueueLook>;
  beginRebuild(queue: string, nonce: string): Promise<void>;
  /** False if the mark did not stand any more. */
  endRebuild(queue: string, nonce: string): Promise<boolean>;

  inflightPage(queue: string, cursor: string, filter: ClaimFilter): Promise<InflightPage>;
  /** Members that Redis does not have (value '') or has under a claim older than `claimLostAfterMs`. */
  missing(queue: string, members: readonly string[], claimLostAfterMs: number): Promise<ClaimEntry[]>;
  /** Ends claims that are still the same. @returns how many were */
  endClaims(queue: string, ended: readonly EndedClaim[]): Promise<number>;
  /** Notes running tasks as in flight. @returns those that were not */
  enterRunning(
    queue: string,
    tasks: readonly { readonly position: Position; readonly workerId: string }[],
  ): Promise<ClaimEntry[]>;
  scanMembers(queue: string, set: MemberSet, cursor: string, count: number): Promise<MemberPage>;
  removeWaiting(queue: string, members: readonly string[]): Promise<number>;
  /** Milliseconds since 1970 by Redis' clock. */
  nowMs(): Promise<number>;
}

const LOOK_AT_QUEUE = loadScript(import.meta.dirname, 'look-at-queue');
const END_REBUILD = loadScript(import.meta.dirname, 'end-rebuild');
const INFLIGHT_PAGE = loadScript(import.meta.dirname, 'inflight-page');
const MISSING = loadScript(import.meta.dirname, 'missing');
const PUT_BACK = loadScript(import.meta.dirname, 'put-back');
const ENTER_RUNNING = loadScript(import.meta.dirname, 'enter-running');

const INFLIGHT_PAGE_ENTRIES = 1_000;

export function createReconcileQueue(redis: RedisConnection, keys: Keys): ReconcileQueue {
  const mark = createServerMark(redis);
  return {
    async look(queue) {
      const { epoch, ready, delayed, inflight, settings } = keys.queue(queue);
      const reply = await redis.script(LOOK_AT_QUEUE, [epoch, ready, delayed, inflight, settings], []);
      const [found, waiting, running, settingsVersion] = reply as [string, number, number, number];
      const counts = { waiting, inflight: running, settingsVersion };
      const [format, state, nonce] = found.split(' ') as [string, 'whole' | 'rebuilding', string?];
      // The data may be those of an old snapshot, or what a replica had received: then the server is not the marked one.
      if (nonce === undefined || format !== String(KEY_FORMAT) || !(await mark.stands(epoch, nonce))) {
        return { state: 'lost', nonce: null, ...counts };
      }
      return { state, nonce: state === 'rebuilding' ? nonce : null, ...counts };
    },
    async beginRebuild(queue, nonce) {
      const { epoch } = keys.queue(queue);
      await mark.set(epoch, nonce);
      await redis.call((client) => client.set(epoch, epochOf('rebuilding', nonce)));
    },
    async endRebuild(queue, nonce) {
      const { epoch } = keys.queue(queue);
      const ended = await redis.script(END_REBUILD, [epoch], [epochOf('rebuilding', nonce), epochOf('whole', nonce)]);
      // Where another server took over meanwhile, the epoch came with the data, and the mark did not.
      return ended === 1 && (await mark.stands(epoch, nonce));
    },

    async inflightPage(queue, cursor, { minAgeMs, maxAgeMs, workerIds }) {
      const args = [cursor, INFLIGHT_PAGE_ENTRIES, minAgeMs, maxAgeMs, ...workerIds];
      const reply = (await redis.script(INFLIGHT_PAGE, [keys.queue(queue).inflight], args)) as [
        string,
        string[],
        string[],
      ];
      return { cursor: reply[0], holders: reply[1], claims: entriesOf(reply[2]) };
    },
    async missing(queue, members, claimLostAfterMs) {
      const { ready, delayed, inflight } = keys.queue(queue);
      const replies = await inChunks(members, (chunk) =>
        redis.script(MISSING, [ready, delayed, inflight], [claimLostAfterMs, ...chunk]),
      );
      return replies.flatMap((reply) => entriesOf(reply as string[]));
    },
    async endClaims(queue, ended) {
      const { ready, delayed, inflight, wake } = keys.queue(queue);
      const replies = await inChunks(ended, (chunk) => {
        const args = chunk.flatMap(({ claim, back }) =>
          back === null
            ? [claim.member, 0, -1, claim.value]
            : [claim.member, scoreOf(back.position), Math.max(0, Math.ceil(back.waitMs)), claim.value],
        );
        return redis.script(PUT_BACK, [ready, delayed, inflight, wake], args);
      });
      return sum(replies);
    },
    async enterRunning(queue, tasks) {
      const replies = await inChunks(tasks, (chunk) => {
        const args = chunk.flatMap(({ position, workerId }) => [memberOf(position), workerId]);
        return redis.script(ENTER_RUNNING, [keys.queue(queue).inflight], args);
      });
      return replies.flatMap((reply) => entriesOf(reply as string[]));
    },
    async scanMembers(queue, set, cursor, count) {
      const key = keys.queue(queue)[set];
      const [next, flat] = await redis.call((client) =>
        set === 'inflight' ? client.hscan(key, cursor, 'COUNT', count) : client.zscan(key, cursor, 'COUNT', count),
      );
      const entries = entriesOf(flat);
      return { cursor: next, members: entries.map(({ member }) => member), claims: set === 'inflight' ? entries : [] };
    },
    async removeWaiting(queue, members) {
      const { ready, delayed } = keys.queue(queue);
      const replies = await Promise.all(
        [ready, delayed].map((key) => inChunks(members, (chunk) => redis.call((client) => client.zrem(key, ...chunk)))),
      );
      return sum(replies.flat());
    },
    nowMs: () => redisNowMs(redis),
  };
}

/** What the key `epoch` of a queue holds. */
function epochOf(state: 'rebuilding' | 'whole', nonce: string): string {
  return `${KEY_FORMAT} ${state} ${nonce}`;
}

function entriesOf(flat: readonly string[]): ClaimEntry[] {
  const entries: ClaimEntry[] = [];
  for (let i = 0; i < flat.length; i += 2) entries.push({ member: flat[i] as string, value: flat[i + 1] as string });
  return entries;
}

function sum(replies: readonly unknown[]): number {
  return replies.reduce<number>((total, reply) => total + Number(reply), 0);
}
