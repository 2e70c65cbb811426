import { isIP } from 'node:net';
import { ANYBODY } from '../../core/access/client.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';

/** Says whether requests that need no secret may name this host. The name is in lower case and without a port. */
export type AllowedHosts = (name: string) => boolean;

/**
 * Makes the list of host names. Addresses and `localhost` are always allowed: a page that was led to this server by a
 * changed DNS record (DNS rebinding) names its own domain, never an address.
 * @param names names, or `*.example.org` for all names below `example.org`
 */
export function createAllowedHosts(names: readonly string[]): AllowedHosts {
  const exact = new Set(names.map((name) => name.toLowerCase()));
  const endings = [...exact].filter((name) => name.startsWith('*.')).map((name) => name.slice(1));
  return (name) =>
    isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0 ||
    name === 'localhost' ||
    exact.has(name) ||
    endings.some((ending) => name.endsWith(ending) && name.length > ending.length);
}

/** Methods that have no effect. */
const SAFE = new Set(['GET', 'HEAD']);

/**
 * Refuses requests that a browser sends for a page of another site, and requests under a host name that is not ours. It
 * is called when the client is known. A page that was led here by a changed DNS record can send every header, but it
 * knows no secret. So the name counts only where anybody may do everything: a header that nobody has checked proves
 * nothing.
 * @throws Problem `cross_site` or `unknown_host`
 */
export function refuseForeign(
  method: string | undefined,
  { client, rawHeaders }: Pick<RequestInfo, 'client' | 'rawHeaders'>,
  isAllowed: AllowedHosts,
): void {
  const { host = '' } = rawHeaders;
  if (!SAFE.has(method ?? '') && isCrossSite(rawHeaders, host)) {
    throw new Problem('cross_site', 'a page of another site has sent this request');
  }
  if (client !== ANYBODY) return;
  const name = hostNameOf(host);
  if (name !== null && isAllowed(name)) return;
  throw new Problem('unknown_host', 'the `Host` of this request is not in ALLOWED_HOSTS');
}

/**
 * Browsers say with each request where it comes from. Old ones say at least the origin of requests that may have an
 * effect. Programs say nothing.
 */
function isCrossSite(headers: RequestInfo['rawHeaders'], host: string): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  const { origin } = headers;
  return origin !== undefined && originHost(origin) !== host.toLowerCase();
}

/** Returns host and port of an origin as browsers write them in `Host`; null for an opaque origin. */
function originHost(origin: string): string | null {
  return /^https?:\/\/([^/?#@\s]+)$/.exec(origin.toLowerCase())?.[1] ?? null;
}

/** Returns the name in lower case, without the port and without the dot of an absolute name; null if it is none. */
function hostNameOf(host: string): string | null {
  const [, name] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::\d{1,5})?$/.exec(host.toLowerCase()) ?? [];
  return name ?? null;
}
