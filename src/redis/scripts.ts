import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReplyError } from 'ioredis';
import type { RedisClient } from './redis-client.ts';

/** A Lua script. */
export interface Script {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
}

/**
 * Loads `<name>.lua` from a directory. The file's header describes KEYS, ARGV and the return value.
 * @param directory the caller's `import.meta.dirname`
 */
export function loadScript(directory: string, name: string): Script {
  return scriptOf(name, readFileSync(join(directory, `${name}.lua`), 'utf8'));
}

/** Returns whether an error is a reply of the server, and not an error of the connection. */
export function isReplyError(error: unknown): error is Error {
  return error instanceof ReplyError;
}

export function scriptOf(name: string, lua: string): Script {
  return { name, lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Runs a script by its hash, or by its text if the server does not know the hash. */
export async function evaluate(
  redis: RedisClient,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(script.sha, keys.length, ...keys, ...args);
  } catch (error) {
    if (!isReplyError(error) || !error.message.startsWith('NOSCRIPT')) throw error;
    return redis.eval(script.lua, keys.length, ...keys, ...args);
  }
}
