import type { Keys } from './keys.ts';
import type { RedisClient, RedisConnection } from './redis.ts';

/** Tells workers of cancel requests sooner than their next look at PostgreSQL does. A lost message costs only time. */
export interface CancelChannel {
  /** @throws StoreUnavailableError */
  publish(taskId: string): Promise<void>;
  /** @returns a function that ends the subscription and its connection */
  subscribe(onCancel: (taskId: string) => void): Promise<() => void>;
}

export function createCancelChannel(redis: RedisConnection, keys: Keys): CancelChannel {
  return {
    async publish(taskId) {
      await redis.call((client) => client.publish(keys.cancelChannel, taskId));
    },

    async subscribe(onCancel) {
      let ended = false;
      let connection = open();
      function open(): RedisClient {
        const opened = redis.openBlocking();
        opened.on('message', (_channel: string, taskId: string) => onCancel(taskId));
        // The client gives up for good when it is interrupted while it looks for the server.
        opened.on('end', () => {
          if (!ended) connection = open();
        });
        // Not awaited: without Redis a worker has to start all the same; ioredis subscribes when it connects.
        opened.subscribe(keys.cancelChannel).catch(() => {});
        return opened;
      }
      return () => {
        ended = true;
        connection.disconnect();
      };
    },
  };
}
