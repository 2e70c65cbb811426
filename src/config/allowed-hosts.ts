import { isIP } from 'node:net';

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

/**
 * Makes the list for the listeners of metrics. Prometheus often finds them by names that exist only inside a network:
 * names without a dot (Compose) and names of Services (Kubernetes). Nobody can own such a name in the public DNS.
 */
export function createScrapedHosts(names: readonly string[]): AllowedHosts {
  const allowed = createAllowedHosts([...names, '*.svc', '*.svc.cluster.local']);
  return (name) => !name.includes('.') || allowed(name);
}

/** Returns the name in lower case, without the port and without the dot of an absolute name; null if it is none. */
export function hostNameOf(host: string): string | null {
  const [, name] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::\d{1,5})?$/.exec(host.toLowerCase()) ?? [];
  return name ?? null;
}
