import { hostNameOf, type AllowedHosts } from '../../config/allowed-hosts.ts';
import { ANYBODY } from '../../core/access/client.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';

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
