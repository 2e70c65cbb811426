/** A server to which requests may be sent. */
export interface HttpTarget {
  /** Null: both. */
  readonly scheme: 'http' | 'https' | null;
  /** A host name or an address in lower case, `*.example.org` for all names below it, or `*` for every host. */
  readonly host: string;
  /** Null: every port. */
  readonly port: number | null;
}

export const HTTP_TARGET_RULE =
  'a host name or an address, `*.example.org` for all names below it, or `*`; with `https://` or `http://` before it and a port after it if only these are meant';

const TARGET = /^(?:(https?):\/\/)?(\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;

/** Reads a target such as `api.example.org`, `https://*.example.org` or `10.0.0.5:8080`; null if it is none. */
export function parseHttpTarget(text: string): HttpTarget | null {
  const [, scheme, host, port] = TARGET.exec(text.toLowerCase()) ?? [];
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) return null;
  return {
    scheme: (scheme as HttpTarget['scheme']) ?? null,
    host,
    port: port === undefined ? null : Number(port),
  };
}

const PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };

/**
 * Says whether a URL belongs to a target. `URL` has already brought the host into one form: lower case, punycode, and
 * IPv4 addresses in decimal notation.
 */
export function isHttpTarget(url: URL, { scheme, host, port }: HttpTarget): boolean {
  if (scheme !== null && url.protocol !== `${scheme}:`) return false;
  if (port !== null && Number(url.port === '' ? PORTS[url.protocol] : url.port) !== port) return false;
  const name = url.hostname.replace(/\.$/, '');
  if (host === '*') return true;
  return host.startsWith('*.') ? name.length > host.length - 1 && name.endsWith(host.slice(1)) : name === host;
}
