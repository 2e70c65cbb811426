import { StoreUnavailableError } from '../core/errors.ts';
import type { Keys } from './keys.ts';
import type { RedisConnection } from './redis.ts';

/** Tells workers of cancel requests sooner than their next look at PostgreSQL does. A lost message costs only time. */
export interface CancelChannel {
  publish(taskId: string): Promise<void>;
  /** @returns a function that ends the subscription and its connection */
  subscribe(onCancel: (taskId: string) => void): Promise<() => void>;
}

export function createCancelChannel(redis: RedisConnection, keys: Keys): CancelChannel {
  return {
    async publish(taskId) {
      try {
        await redis.call((client) => client.publish(keys.cancelChannel, taskId));
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
      }
    },

    async subscribe(onCancel) {
      const connection = redis.openBlocking();
      connection.on('message', (_channel: string, taskId: string) => onCancel(taskId));
      // Not awaited: without Redis a worker has to start all the same; ioredis subscribes when it connects.
      connection.subscribe(keys.cancelChannel).catch(() => {});
      return () => connection.disconnect();
    },
  };
}
