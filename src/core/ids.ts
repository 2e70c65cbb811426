import { SHARDS, shardOfQueue } from './shard.ts';

/**
 * UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then a counter of
 * 26 bits (method 1 of section 6.2), 38 random bits, and the ten bits of the
 * queue's shard. The text form sorts in the same order as the bytes, in Redis
 * and in PostgreSQL. The order comes from the time and the counter alone.
 */
const COUNTER_LIMIT = 2 ** 26;

/** Sorts before every task id. */
export const FIRST_ID = '00000000-0000-0000-0000-000000000000';

/** Sorts after every task id. */
export const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

export interface IdSource {
  /** Returns a new id for a task of a queue. It is greater than every earlier id of this source. */
  next(queue: string): string;
}

/**
 * @param nowMs milliseconds since 1970 by PostgreSQL's clock
 * @param randomBytes returns random bytes, like `crypto.randomBytes`
 */
export function createIdSource(nowMs: () => number, randomBytes: (size: number) => Uint8Array): IdSource {
  let lastMs = -1;
  let lastTime = '';
  let counter = 0;

  // Start the counter in the lower half, so that at least 2^25 ids are left for one millisecond.
  const seedCounter = (random: DataView): number => random.getUint32(6) % (COUNTER_LIMIT / 2);

  return {
    next(queue) {
      const bytes = randomBytes(10);
      const random = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const ms = Math.floor(nowMs());
      if (ms > lastMs || ++counter === COUNTER_LIMIT) {
        lastMs = Math.max(ms, lastMs + 1);
        lastTime = timePart(lastMs);
        counter = seedCounter(random);
      }
      return lastTime + format(counter, random, shardOfQueue(queue));
    },
  };
}

function timePart(ms: number): string {
  const time = hex(ms, 12);
  return `${time.slice(0, 8)}-${time.slice(8)}`;
}

function format(counter: number, random: DataView, shard: number): string {
  const high = hex(0x7000 | (counter >>> 14), 4);
  const low = hex(0x8000 | (counter & 0x3fff), 4);
  const tail = hex(random.getUint16(0), 4) + hex(((random.getUint32(2) & ~(SHARDS - 1)) | shard) >>> 0, 8);
  return `-${high}-${low}-${tail}`;
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

/** Characters of an id that carry its time. */
const TIME_LENGTH = 13;

let latestTime = '';
let latestMs = 0;

/** Returns the milliseconds since 1970 that a UUIDv7 carries. Neighbours often have the same, so it is not parsed again. */
export function idMilliseconds(id: string): number {
  if (latestTime === '' || !id.startsWith(latestTime)) {
    latestTime = id.slice(0, TIME_LENGTH);
    latestMs = Number.parseInt(id.slice(0, 8) + id.slice(9, TIME_LENGTH), 16);
  }
  return latestMs;
}

/** Returns the smallest id of a millisecond. No id of that millisecond or later is smaller. */
export function lowestIdAt(ms: number): string {
  return `${timePart(Math.max(0, Math.floor(ms)))}-7000-8000-000000000000`;
}

/** The text form of an id, in lower case. */
export const TASK_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

export function isTaskId(text: string): boolean {
  return TASK_ID.test(text);
}
