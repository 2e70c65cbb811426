import type { JWTVerifyGetKey } from 'jose';
import {
  PROVIDER_KEYS_KEPT_MS,
  PROVIDER_KEYS_PAUSE_MS,
  PROVIDER_PAUSE_MS,
  PROVIDER_TIMEOUT_MS,
} from '../../../config/access-timings.ts';
import { systemClock, type Clock } from '../../../core/clock.ts';
import type { BoundedFetch, FetchOptions } from './bounded-fetch.ts';
import { ProviderFault } from './provider-fault.ts';

/**
 * Returns the function that finds the key of a token. The library keeps the keys, reads them again from time to time,
 * and sooner if a token names an unknown one. A token whose key cannot be looked up is a `ProviderFault` and not a wrong
 * token.
 */
export async function createKeySet(url: string, { fetch }: BoundedFetch, clock?: Clock): Promise<JWTVerifyGetKey> {
  const { createRemoteJWKSet, customFetch } = await import('jose');
  return createRemoteJWKSet(new URL(url), {
    timeoutDuration: PROVIDER_TIMEOUT_MS,
    cacheMaxAge: PROVIDER_KEYS_KEPT_MS,
    cooldownDuration: PROVIDER_KEYS_PAUSE_MS,
    [customFetch]: sparingly((address, options) => fetchKeys(fetch, address, options), clock),
  });
}

async function fetchKeys(fetch: BoundedFetch['fetch'], url: string, options: FetchOptions): Promise<Response> {
  const response = await fetch(url, options);
  const text = await response.text();
  if (response.status !== 200) throw new ProviderFault(`GET ${url}: the answer has the status ${response.status}`);
  if (!isKeySet(text))
    throw new ProviderFault(`GET ${url}: expected a set of keys (JWKS); the answer is something else`);
  return new Response(text, { status: 200 });
}

function isKeySet(text: string): boolean {
  try {
    const { keys } = JSON.parse(text) as { readonly keys?: unknown };
    return Array.isArray(keys) && keys.every((key) => typeof key === 'object' && key !== null);
  } catch {
    return false;
  }
}

/** The library asks for each token again while it has no keys. After a failure, this fails at once for a moment. */
function sparingly(
  ask: (url: string, options: FetchOptions) => Promise<Response>,
  clock: Clock = systemClock,
): (url: string, options: FetchOptions) => Promise<Response> {
  let failed: { readonly error: unknown; readonly untilMs: number } | undefined;
  return async (url, options) => {
    if (failed !== undefined && clock.monotonicMs() < failed.untilMs) throw failed.error;
    try {
      return await ask(url, options);
    } catch (error) {
      failed = { error, untilMs: clock.monotonicMs() + PROVIDER_PAUSE_MS };
      throw error;
    }
  };
}
