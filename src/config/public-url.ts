import { isLoopback } from './loopback.ts';

export const PUBLIC_URL_RULE =
  '`https://` and a host name, with its port unless it is 443, and nothing after that, such as https://tasks.example.org; `http://` only before localhost or a loopback address';

const ORIGIN = /^(https?):\/\/(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)(?::\d{1,5})?$/i;

/**
 * Reads the address under which browsers reach the API. Without TLS, browsers keep the cookie of a session only on this
 * machine.
 * @returns the origin in the form in which browsers write it; null for any other text
 */
export function parsePublicUrl(text: string): string | null {
  if (!ORIGIN.test(text) || !URL.canParse(text)) return null;
  const { protocol, hostname, origin } = new URL(text);
  return protocol === 'https:' || isLoopback(hostname.replace(/^\[(.*)\]$/, '$1')) ? origin : null;
}
