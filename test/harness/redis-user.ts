import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { withRedis } from '../../scripts/stores/redis.ts';
import type { PrivateServer } from './private-stores.ts';

/** Creates a user of a private Redis with an ACL rule, or applies the rule to an existing user. */
export async function setRedisUser(server: PrivateServer, user: string, rule: string): Promise<void> {
  await withRedis(server.url, (redis) => redis.call('ACL', 'SETUSER', user, ...rule.split(' ')));
}

export interface RedisUser {
  readonly name: string;
  readonly url: string;
  /** Creates the user again after a restart of the server, which forgets users. */
  restore(): Promise<void>;
}

/** Creates a new user; the URL contains its login. */
export async function createRedisUser(server: PrivateServer, rule: string): Promise<RedisUser> {
  const name = `u${randomBytes(4).toString('hex')}`;
  const restore = (): Promise<void> => setRedisUser(server, name, `on >secret ${rule}`);
  await restore();
  const url = new URL(server.url);
  url.username = name;
  url.password = 'secret';
  return { name, url: url.href, restore };
}

/**
 * Returns the ACL rules that docs/redis.md recommends: `dangerous` allows all commands except @dangerous; `least` has
 * the least rights, with the keys of a test.
 */
export function documentedRules(redisPrefix: string): { dangerous: string; least: string } {
  const text = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8');
  const rules = [...text.matchAll(/^ACL SETUSER scheduler on >PASSWORD ([^`]*)^```/gm)].map(([, rule = '']) =>
    rule.trim().split(/\s+/).join(' '),
  );
  const [dangerous = '', least = ''] = rules;
  const ownKeys = least
    .replaceAll('scheduler:*', `${redisPrefix}:*`)
    .replace('~worker:heartbeat:*', `~${redisPrefix}:worker:heartbeat:*`);
  return { dangerous, least: ownKeys };
}
