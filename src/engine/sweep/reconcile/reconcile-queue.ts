import { memberOf, scoreOf, type Position } from '../../../core/priority.ts';
import { inChunks } from '../../../redis/in-chunks.ts';
import { KEY_FORMAT, type Keys } from '../../../redis/keys.ts';
import { redisNowMs } from '../../../redis/redis-time.ts';
import type { RedisConnection } from '../../../redis/redis.ts';
import { loadScript } from '../../../redis/scripts.ts';
import { createServerMark } from '../../../redis/server-mark.ts';

/** An entry of `inflight`. `value` is worker and time, which distinguish it from other claims of the same member. */
export interface ClaimEntry {
  readonly member: string;
  readonly value: string;
}

export interface InflightPage {
  /** '0' after the last page. */
  readonly cursor: string;
  readonly holders: readonly string[];
  readonly claims: readonly ClaimEntry[];
}

/** The claims that a page returns: claims of a certain age, and all claims of some workers. */
export interface ClaimFilter {
  readonly minAgeMs: number;
  readonly maxAgeMs: number;
  readonly workerIds: readonly string[];
}

/** A claim to end. Its task goes back to the queue, or is dropped. */
export interface EndedClaim {
  readonly claim: ClaimEntry;
  /** The place to return to, after `waitMs` milliseconds (0 or less: at once); null drops the member. */
  readonly back: { readonly position: Position; readonly waitMs: number } | null;
}

export interface QueueLook {
  /** `lost`: Redis has lost the data, or they come from an old state, from another server or from another format. */
  readonly state: 'whole' | 'lost' | 'rebuilding';
  readonly nonce: string | null;
  readonly waiting: number;
  readonly inflight: number;
  /** Version of the settings in Redis; 0 if there are none. */
  readonly settingsVersion: number;
}

export type MemberSet = 'ready' | 'delayed' | 'inflight';

export interface MemberPage {
  readonly cursor: string;
  readonly members: readonly string[];
  /** For `inflight` only: the members with their values. */
  readonly claims: readonly ClaimEntry[];
}

/**
 * Redis' side of the comparison with PostgreSQL.
 * Every method throws `StoreUnavailableError` when Redis is unavailable or refuses.
 */
export interface ReconcileQueue {
  look(queue: string): Promise<QueueLook>;
  beginRebuild(queue: string, nonce: string): Promise<void>;
  /** Returns false if the mark was gone. */
  endRebuild(queue: string, nonce: string): Promise<boolean>;

  inflightPage(queue: string, cursor: string, filter: ClaimFilter): Promise<InflightPage>;
  /** Returns the members that Redis does not have (value '') or has under a claim older than `claimLostAfterMs`. */
  missing(queue: string, members: readonly string[], claimLostAfterMs: number): Promise<ClaimEntry[]>;
  /** Ends claims unless they have changed. @returns the number of claims that were ended */
  endClaims(queue: string, ended: readonly EndedClaim[]): Promise<number>;
  /** Enters running tasks into `inflight`. @returns the entries that were missing */
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
      // The data may come from an old snapshot, or from a replica that had not received everything. The server then
      // does not carry the mark.
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
      // If another server has taken over meanwhile, it has the epoch, which came with the data, but not the mark.
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

/** Returns the value of a queue's key `epoch`. */
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
