import { RIGHTS_LOOK_INTERVAL_MS } from '../../config/timings.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisClient, RedisConnection } from '../../redis/redis.ts';
import { isReplyError } from '../../redis/scripts.ts';
import type { Logger } from '../../telemetry/logger.ts';

/**
 * Notifies workers of cancel requests. Without a message, a worker learns of the request when it next reads PostgreSQL,
 * so a lost message only costs time.
 */
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
        // Do not wait for the subscription: a worker has to start even if Redis is unavailable.
        opened.on('ready', () => void listen(opened));
        // The client ends without reconnecting if it is interrupted while it looks for the server. Replace it then.
        opened.on('end', () => {
          if (!ended) connection = open();
        });
        return opened;
      }
      async function listen(client: RedisClient): Promise<void> {
        try {
          await client.subscribe(keys.cancelChannel);
        } catch (error) {
          // A broken connection subscribes again when it is ready again.
          if (ended || !isReplyError(error)) return;
          if (!isSaid)
            log.warn({ err: error }, 'cancels of running tasks arrive seconds late: Redis refuses to subscribe');
          isSaid = true;
          // Try again, because the permission may be granted at any time.
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
