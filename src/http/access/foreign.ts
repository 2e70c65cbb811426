import { hostNameOf, type AllowedHosts } from '../../config/allowed-hosts.ts';
import { ANYBODY } from '../../core/access/client.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';

/** Methods that have no effect. */
const SAFE = new Set(['GET', 'HEAD']);

/**
 * Refuses requests that a browser sends for a page of another site, and requests under a host name that is not ours. It
 * is called when the client is known. A page that was led here by a changed DNS record can send every header, but it
 * knows no secret. So the name counts only where the browser itself gives a page what it may do: where anybody may do
 * everything, and with the cookie of a session. A header that nobody has checked proves nothing.
 *
 * Browsers say of every request with an effect where it comes from. So one with a session that does not say it was not
 * sent by a browser of ours, and programs have keys.
 * @param forBrowsers whether the route opens or ends sessions, so that the rules of sessions apply to every request
 * @throws Problem `cross_site` or `unknown_host`
 */
export function refuseForeign(
  method: string | undefined,
  { client, session, rawHeaders }: Pick<RequestInfo, 'client' | 'session' | 'rawHeaders'>,
  isAllowed: AllowedHosts,
  forBrowsers = false,
): void {
  const { host = '' } = rawHeaders;
  const ofBrowser = forBrowsers || session !== null;
  if (!SAFE.has(method ?? '')) {
    if (isCrossSite(rawHeaders, host)) {
      throw new Problem('cross_site', 'a page of another site has sent this request');
    }
    if (ofBrowser && !saysOrigin(rawHeaders)) {
      const detail =
        'a request for a session has to say which page sends it (`Sec-Fetch-Site` or `Origin`), as browsers do; programs send a key instead';
      throw new Problem('cross_site', detail);
    }
  }
  if (!ofBrowser && client !== ANYBODY) return;
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

function saysOrigin(headers: RequestInfo['rawHeaders']): boolean {
  return headers['sec-fetch-site'] !== undefined || headers.origin !== undefined;
}

/** Returns host and port of an origin as browsers write them in `Host`; null for an opaque origin. */
function originHost(origin: string): string | null {
  return /^https?:\/\/([^/?#@\s]+)$/.exec(origin.toLowerCase())?.[1] ?? null;
}
