import { RIGHTS_LOOK_INTERVAL_MS } from '../../config/timings.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisClient, RedisConnection } from '../../redis/redis.ts';
import { isReplyError } from '../../redis/scripts.ts';

/** Tells workers of cancel requests sooner than their next look at PostgreSQL does. A lost message costs only time. */
export interface CancelChannel {
  /** @throws StoreUnavailableError */
  publish(taskId: string): Promise<void>;
  /** @returns a function that ends the subscription and its connection */
  subscribe(onCancel: (taskId: string) => void): Promise<() => void>;
}

export function createCancelChannel(
  redis: Pick<RedisConnection, 'call' | 'openBlocking'>,
  keys: Keys,
  log: Logger,
): CancelChannel {
  return {
    async publish(taskId) {
      await redis.call((client) => client.publish(keys.cancelChannel, taskId));
    },

    async subscribe(onCancel) {
      let ended = false;
      let isSaid = false;
      let connection = open();
      function open(): RedisClient {
        const opened = redis.openBlocking();
        opened.on('message', (_channel: string, taskId: string) => onCancel(taskId));
        // Without Redis a worker has to start all the same, so that nobody waits for this.
        opened.on('ready', () => void listen(opened));
        // The client gives up for good when it is interrupted while it looks for the server.
        opened.on('end', () => {
          if (!ended) connection = open();
        });
        return opened;
      }
      async function listen(client: RedisClient): Promise<void> {
        try {
          await client.subscribe(keys.cancelChannel);
        } catch (error) {
          // A connection that broke subscribes when it stands again.
          if (ended || !isReplyError(error)) return;
          if (!isSaid)
            log.warn({ err: error }, 'cancels of running tasks come seconds late: Redis refuses to subscribe');
          isSaid = true;
          // The right may be given at any time.
          setTimeout(() => {
            if (!ended && client.status === 'ready') void listen(client);
          }, RIGHTS_LOOK_INTERVAL_MS).unref();
        }
      }
      return () => {
        ended = true;
        connection.disconnect();
      };
    },
  };
}
