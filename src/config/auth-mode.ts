import type { Config } from './env.ts';
import { isLoopback } from './loopback.ts';

/** Returns whether a client has to say who it is. */
export function authModeOf({ AUTH, HOST }: Pick<Config, 'AUTH' | 'HOST'>): 'keys' | 'open' {
  if (AUTH !== 'auto') return AUTH;
  return isLoopback(HOST) ? 'open' : 'keys';
}

/** Returns why nobody else should reach an API that is open; null if it needs keys, or if nobody else can reach it. */
export function exposureOf(config: Pick<Config, 'AUTH' | 'HOST' | 'TRUSTED_PROXIES'>): string | null {
  if (authModeOf(config) === 'keys') return null;
  if (!isLoopback(config.HOST)) return `HOST is ${config.HOST}, so other machines may reach the API`;
  return config.TRUSTED_PROXIES.length > 0 ? 'TRUSTED_PROXIES is set, so a proxy may let others in' : null;
}
