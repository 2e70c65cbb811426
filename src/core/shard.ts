import { createHash } from 'node:crypto';

/** Number of shards: a shard is ten bits. */
export const SHARDS = 2 ** 10;

/** Most queues whose shards are remembered. Names may come from requests that are refused later. */
const REMEMBERED_MAX = 1_000;

const remembered = new Map<string, number>();

/**
 * Returns the shard of a queue: the last ten of the first sixteen bits of the SHA-256 of its name. It must never change,
 * because it is part of the ids of all tasks.
 */
export function shardOfQueue(queue: string): number {
  const known = remembered.get(queue);
  if (known !== undefined) return known;
  const shard = createHash('sha256').update(queue).digest().readUInt16BE(0) & (SHARDS - 1);
  if (remembered.size === REMEMBERED_MAX) remembered.clear();
  remembered.set(queue, shard);
  return shard;
}

/**
 * Returns the shard in a task's id: its last ten bits. Ids that were made before shards existed have random bits there;
 * such a task has the shard that its id says, not that of its queue.
 */
export function shardOf(id: string): number {
  return Number.parseInt(id.slice(-3), 16) & (SHARDS - 1);
}
