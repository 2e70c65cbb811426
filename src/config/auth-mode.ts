import type { Config } from './env.ts';
import { covers, networkOf, parseNetwork } from './networks.ts';

const LOOPBACK = ['127.0.0.0/8', '::1'].map(networkOf);

/** Returns whether only programs on this machine can reach a server that listens on this host. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true;
  const network = parseNetwork(host);
  return typeof network !== 'string' && LOOPBACK.some((range) => covers(range, network));
}

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
