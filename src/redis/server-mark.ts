import type { RedisConnection } from './redis.ts';
import { isReplyError, loadScript, scriptOf, type Script } from './scripts.ts';

/**
 * Tells one server process from every other, and needs no right beyond EVAL. A mark stands on the server that was
 * marked until that process ends. A restart, a failover and a move of the key to another node all lose it; so does
 * SCRIPT FLUSH, or a Redis 7.4 that has been sent 500 other scripts since. Losing a mark costs a rebuild, nothing more.
 */
export interface ServerMark {
  /** Marks the server that holds `key`. */
  set(key: string, nonce: string): Promise<void>;
  /** Whether the server that holds `key` now is the one that was marked. */
  stands(key: string, nonce: string): Promise<boolean>;
}

const SERVER_MARK = loadScript(import.meta.dirname, 'server-mark');

export function createServerMark(redis: Pick<RedisConnection, 'call'>): ServerMark {
  return {
    async set(key, nonce) {
      await redis.call((client) => client.eval(markOf(nonce).lua, 1, key));
    },
    async stands(key, nonce) {
      try {
        await redis.call((client) => client.evalsha(markOf(nonce).sha, 1, key));
        return true;
      } catch (error) {
        if (isReplyError(error) && error.message.startsWith('NOSCRIPT')) return false;
        throw error;
      }
    },
  };
}

function markOf(nonce: string): Script {
  return scriptOf(SERVER_MARK.name, `${SERVER_MARK.lua}-- ${nonce}\n`);
}
