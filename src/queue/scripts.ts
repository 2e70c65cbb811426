import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ReplyError } from 'ioredis';
import type { RedisClient } from './redis-client.ts';

/** One file of `scripts/`. */
export interface Script {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
}

/** Loads `scripts/<name>.lua`; its header says what KEYS and ARGV are and what is returned. */
export function loadScript(name: string): Script {
  return scriptOf(name, readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8'));
}

export function scriptOf(name: string, lua: string): Script {
  return { name, lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Runs a script by its hash, and by its text where the server does not know it. */
export async function evaluate(
  redis: RedisClient,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(script.sha, keys.length, ...keys, ...args);
  } catch (error) {
    if (!(error instanceof ReplyError) || !(error as Error).message.startsWith('NOSCRIPT')) throw error;
    return redis.eval(script.lua, keys.length, ...keys, ...args);
  }
}
