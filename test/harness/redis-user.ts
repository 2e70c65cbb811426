import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { withRedis } from '../../scripts/stores/redis.ts';
import type { PrivateServer } from './private-stores.ts';

/** Makes a user of a private Redis, with the rights of an ACL rule, or gives rules to one that there is. */
export async function setRedisUser(server: PrivateServer, user: string, rule: string): Promise<void> {
  await withRedis(server.url, (redis) => redis.call('ACL', 'SETUSER', user, ...rule.split(' ')));
}

export interface RedisUser {
  readonly name: string;
  readonly url: string;
  /** Makes the user anew, after a restart of the server, which forgets it. */
  restore(): Promise<void>;
}

/** A new user and the URL with its login. */
export async function createRedisUser(server: PrivateServer, rule: string): Promise<RedisUser> {
  const name = `u${randomBytes(4).toString('hex')}`;
  const restore = (): Promise<void> => setRedisUser(server, name, `on >secret ${rule}`);
  await restore();
  const url = new URL(server.url);
  url.username = name;
  url.password = 'secret';
  return { name, url: url.href, restore };
}

/** The rules that docs/redis.md recommends, for the keys of a test: `dangerous` is all but @dangerous, `least` the least rights. */
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
