import { setTimeout as delay } from 'node:timers/promises';
import { BLOCKED_WAIT_REFUSED_PAUSE_MS, BLOCKED_WAIT_SLACK_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisClient, RedisConnection } from '../../redis/redis.ts';

/** Waits for work without polling. */
export interface WakeWaiter {
  /**
   * Resolves when one of the queues has a marker, after `ms`, or when the signal fires. It sometimes resolves earlier,
   * which costs the caller a claim that finds nothing.
   * Never rejects: while Redis is unavailable it waits for `ms`.
   */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** Closes the blocked connections. Idempotent. */
  close(): Promise<void>;
}

/** A blocking connection, and the keys that it waits for in one command. */
interface Lane {
  readonly wakeKeys: readonly string[];
  client: RedisClient;
  /** The running command. It goes on after another lane has ended the `wait`. */
  blocked: Promise<void> | null;
}

/** Redis treats a timeout of 0 as "wait without end". */
const SHORTEST_BLOCK_MS = 10;

/**
 * Blocks with BZPOPMIN on separate connections. One connection serves all queues; in a Redis Cluster each queue has its
 * own, because the keys of the queues are in different slots.
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
    // If Redis is unavailable and a marker gets lost, a worker only waits for the rest of its time.
    await Promise.allSettled(marked.map((key) => redis.call((client) => client.zadd(key, 0, '1'))));
  };

  const replace = (lane: Lane): void => {
    lane.client.disconnect();
    if (!closed) lane.client = redis.openBlocking();
  };

  const block = async (lane: Lane, ms: number): Promise<void> => {
    const cut = Promise.withResolvers<'cut'>();
    // A command that outlasts its own timeout hangs (half-open connection, frozen server, Redis unavailable).
    const watchdog = setTimeout(() => cut.resolve('cut'), ms + slackMs);
    try {
      const popped = await Promise.race([lane.client.bzpopmin(...lane.wakeKeys, ms / 1_000), cut.promise]);
      if (popped === 'cut') replace(lane);
      // No caller waits any more, so put the marker back for another worker.
      else if (popped !== null && waiting === 0) await putBack([popped[0]]);
    } catch {
      // The client ends without reconnecting if it is interrupted while it looks for the server.
      if (lane.client.status === 'end') replace(lane);
      // The server may refuse (a replica, or a server that is loading). Without a pause the caller would spin.
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
      // A command may have popped a marker just now and lost its answer with the connection.
      await putBack(blocked.flatMap((lane) => lane.wakeKeys));
    },
  };
}
