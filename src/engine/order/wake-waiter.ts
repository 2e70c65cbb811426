import { setTimeout as delay } from 'node:timers/promises';
import { BLOCKED_WAIT_REFUSED_PAUSE_MS, BLOCKED_WAIT_SLACK_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisClient, RedisConnection } from '../../redis/redis.ts';

/** Waits for work without asking again and again. */
export interface WakeWaiter {
  /**
   * Resolves when one of the queues has a marker, after `ms`, or when the signal
   * fires; now and then earlier, which costs its caller a look that finds nothing.
   * Never rejects: while Redis is away it lasts `ms`.
   */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** Ends the blocked connections. Idempotent. */
  close(): Promise<void>;
}

/** One blocking connection with the keys that it can wait for in one command. */
interface Lane {
  readonly wakeKeys: readonly string[];
  client: RedisClient;
  /** The command on its way; it outlasts a `wait` that another lane ended. */
  blocked: Promise<void> | null;
}

/** Redis takes 0 for "for ever". */
const SHORTEST_BLOCK_MS = 10;

/**
 * Blocks with BZPOPMIN on connections of its own: one for all queues, or in a
 * Cluster, where their keys lie in different slots, one for each.
 */
export function createWakeWaiter(
  redis: RedisConnection,
  keys: Keys,
  queues: readonly string[],
  options: { readonly cluster: boolean; readonly slackMs?: number },
): WakeWaiter {
  const { slackMs = BLOCKED_WAIT_SLACK_MS } = options;
  const wakeKeys = queues.map((queue) => keys.queue(queue).wake);
  const laneKeys = options.cluster ? wakeKeys.map((key) => [key]) : [wakeKeys];
  const lanes = laneKeys.map((lane): Lane => ({ wakeKeys: lane, client: redis.openBlocking(), blocked: null }));
  let waiting = 0;
  let closed = false;

  const putBack = async (marked: readonly string[]): Promise<void> => {
    // A marker lost with Redis away costs the length of a wait, no more.
    await Promise.allSettled(marked.map((key) => redis.call((client) => client.zadd(key, 0, '1'))));
  };

  const replace = (lane: Lane): void => {
    lane.client.disconnect();
    if (!closed) lane.client = redis.openBlocking();
  };

  const block = async (lane: Lane, ms: number): Promise<void> => {
    const cut = Promise.withResolvers<'cut'>();
    // A command that outlasts its own time-out hangs (half-open connection, frozen server, Redis away).
    const watchdog = setTimeout(() => cut.resolve('cut'), ms + slackMs);
    try {
      const popped = await Promise.race([lane.client.bzpopmin(...lane.wakeKeys, ms / 1_000), cut.promise]);
      if (popped === 'cut') replace(lane);
      // It belongs to somebody who can claim: nobody here is waiting any more.
      else if (popped !== null && waiting === 0) await putBack([popped[0]]);
    } catch {
      // Interrupted while it looked for the server, it has given up.
      if (lane.client.status === 'end') replace(lane);
      // Refused (a replica, a server that loads): without a pause the caller would spin.
      if (!closed) await delay(BLOCKED_WAIT_REFUSED_PAUSE_MS, undefined, { ref: false });
    } finally {
      clearTimeout(watchdog);
      lane.blocked = null;
    }
  };

  return {
    async wait(ms, signal) {
      if (ms <= 0 || signal.aborted || closed) return;
      const ended = Promise.withResolvers<void>();
      const timer = setTimeout(ended.resolve, ms);
      const onAbort = (): void => ended.resolve();
      signal.addEventListener('abort', onAbort, { once: true });
      waiting++;
      try {
        for (const lane of lanes) lane.blocked ??= block(lane, Math.max(SHORTEST_BLOCK_MS, ms));
        await Promise.race([ended.promise, ...lanes.map(({ blocked }) => blocked)]);
      } finally {
        waiting--;
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      }
    },

    async close() {
      if (closed) return;
      closed = true;
      const blocked = lanes.filter((lane) => lane.blocked !== null);
      for (const { client } of lanes) client.disconnect();
      // A marker may have been popped for us just now, its answer lost with the connection.
      await putBack(blocked.flatMap((lane) => lane.wakeKeys));
    },
  };
}
