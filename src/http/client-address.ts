import { BlockList, isIP, isIPv4 } from 'node:net';
import { covers, formatAddress, formatNetwork, networkOf, parseNetwork, type Network } from '../config/networks.ts';

/** Finds a client's address from its connection's and the `X-Forwarded-For` header. */
export type ClientAddressOf = (socketAddress: string | undefined, forwardedFor: string | undefined) => string;

/** Requests whose connection is gone before it was looked at. */
const UNKNOWN = 'unknown';

/**
 * Believes `X-Forwarded-For` as far as trusted proxies wrote it: from the right
 * to the first address that is not one of theirs.
 */
export function createClientAddressOf(trustedProxies: readonly Network[]): ClientAddressOf {
  const trusted = new BlockList();
  for (const network of trustedProxies) trusted.addSubnet(formatAddress(network), network.prefix, network.family);
  const isTrusted = (address: string): boolean => trusted.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');

  return (socketAddress, forwardedFor) => {
    let address = plainAddress(socketAddress ?? '');
    if (address === null) return UNKNOWN;
    for (const hop of (forwardedFor ?? '').split(',').toReversed()) {
      if (!isTrusted(address)) return address;
      const next = plainAddress(withoutPort(hop.trim()));
      // What a trusted proxy passed on without understanding it says nothing.
      if (next === null) return address;
      address = next;
    }
    return address;
  };
}

/** Without zone, and IPv4 where it is IPv4-mapped IPv6, in whatever spelling; null if it is no address. */
function plainAddress(text: string): string | null {
  const [address = ''] = text.split('%');
  if (isIP(address) !== 6) return isIP(address) === 0 ? null : address;
  const network = parseNetwork(address);
  return typeof network !== 'string' && network.family === 'ipv4' ? formatAddress(network) : address;
}

/** Some proxies write `1.2.3.4:5678` and `[::1]:5678`. */
function withoutPort(text: string): string {
  return /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
}

const LOW_32 = 0xffff_ffffn;

/** IPv6 addresses that stand for one IPv4 address, and how they carry it. */
const CARRIERS: readonly { readonly range: Network; readonly ipv4Of: (address: bigint) => bigint }[] = [
  { range: networkOf('64:ff9b::/96'), ipv4Of: (address) => address & LOW_32 },
  { range: networkOf('::ffff:0:0:0/96'), ipv4Of: (address) => address & LOW_32 },
  // A site with one IPv4 address owns the /48 that names it.
  { range: networkOf('2002::/16'), ipv4Of: (address) => (address >> 80n) & LOW_32 },
  // The /64 is the server's, which many share; the client's address has its bits inverted.
  { range: networkOf('2001::/32'), ipv4Of: (address) => ~address & LOW_32 },
];

/** Translated too, but where the IPv4 address stands in it is each network's own choice (RFC 8215, RFC 6052). */
const LOCAL_NAT64 = networkOf('64:ff9b:1::/48');

/** What a customer gets at least, and owns all of (RFC 6177). */
const CUSTOMER_PREFIX = 64;

/**
 * Whom a rate limit counts as one client; docs/rate-limit.md has the table. An IPv4 address, in whichever IPv6 address it
 * arrives; each address of a local NAT64; else the /64 network of an IPv6 address.
 */
export function rateLimitSubject(address: string): string {
  const network = parseNetwork(address);
  if (typeof network === 'string' || network.family === 'ipv4') return address;
  const carrier = CARRIERS.find(({ range }) => covers(range, network));
  if (carrier !== undefined) return formatAddress({ family: 'ipv4', base: carrier.ipv4Of(network.base), prefix: 32 });
  if (covers(LOCAL_NAT64, network)) return formatAddress(network);
  const base = (network.base >> BigInt(128 - CUSTOMER_PREFIX)) << BigInt(128 - CUSTOMER_PREFIX);
  return formatNetwork({ family: 'ipv6', base, prefix: CUSTOMER_PREFIX });
}
