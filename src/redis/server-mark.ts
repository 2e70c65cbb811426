import type { RedisConnection } from './redis.ts';
import { isReplyError, loadScript, scriptOf, type Script } from './scripts.ts';

/**
 * Recognizes a server process, and needs no rights except EVAL and EVALSHA. A mark lasts until the marked process ends. It
 * is lost by a restart, by a failover, and when the key moves to another node; also by SCRIPT FLUSH, and on Redis 7.4 after
 * 500 other scripts. A lost mark only costs a rebuild.
 */
export interface ServerMark {
  /** Marks the server that holds `key`. */
  set(key: string, nonce: string): Promise<void>;
  /** Returns whether the server that now holds `key` is the marked one. */
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
