import { BlockList, isIP, isIPv4 } from 'node:net';
import { covers, formatAddress, formatNetwork, networkOf, parseNetwork, type Network } from '../../config/networks.ts';

/** Finds a client's address from the address of its connection and the `X-Forwarded-For` header. */
export type ClientAddressOf = (socketAddress: string | undefined, forwardedFor: string | undefined) => string;

/** The address of requests whose connection is already closed. */
const UNKNOWN = 'unknown';

/**
 * Trusts `X-Forwarded-For` only as far as trusted proxies wrote it: it reads the header from the right, up to the first
 * address that is not a trusted proxy.
 */
export function createClientAddressOf(trustedProxies: readonly Network[]): ClientAddressOf {
  const trusted = new BlockList();
  for (const network of trustedProxies) trusted.addSubnet(formatAddress(network), network.prefix, network.family);
  const isTrusted = (address: string): boolean => trusted.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');

  const ofSocket = remembered(plainAddress);

  return (socketAddress, forwardedFor) => {
    let address = ofSocket(socketAddress ?? '');
    if (address === null) return UNKNOWN;
    if (forwardedFor === undefined) return address;
    for (const hop of forwardedFor.split(',').toReversed()) {
      if (!isTrusted(address)) return address;
      const next = plainAddress(withoutPort(hop.trim()));
      // A trusted proxy may pass on text that is not an address. Then the proxy itself is the last known address.
      if (next === null) return address;
      address = next;
    }
    return address;
  };
}

/** Number of addresses whose results are kept. When there are more, all are forgotten. */
const REMEMBERED_MAX = 1_000;

/** Keeps the results of a function of an address, because a client sends many requests. */
function remembered<Result>(of: (address: string) => Result): (address: string) => Result {
  const known = new Map<string, Result>();
  return (address) => {
    const before = known.get(address);
    if (before !== undefined) return before;
    const result = of(address);
    if (known.size >= REMEMBERED_MAX) known.clear();
    known.set(address, result);
    return result;
  };
}

/** Returns the address without its zone, and IPv4-mapped IPv6 in any spelling as IPv4; null if it is not an address. */
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

/** IPv6 ranges whose addresses stand for one IPv4 address, and how to read it from them. */
const CARRIERS: readonly { readonly range: Network; readonly ipv4Of: (address: bigint) => bigint }[] = [
  { range: networkOf('64:ff9b::/96'), ipv4Of: (address) => address & LOW_32 },
  { range: networkOf('::ffff:0:0:0/96'), ipv4Of: (address) => address & LOW_32 },
  // 6to4: a site with one IPv4 address owns the /48 that contains this address.
  { range: networkOf('2002::/16'), ipv4Of: (address) => (address >> 80n) & LOW_32 },
  // Teredo: many clients share the /64 of their server. The client's IPv4 address is stored with its bits inverted.
  { range: networkOf('2001::/32'), ipv4Of: (address) => ~address & LOW_32 },
];

/** These addresses also contain an IPv4 address, but each network chooses its position (RFC 8215, RFC 6052). */
const LOCAL_NAT64 = networkOf('64:ff9b:1::/48');

/** The smallest network that a customer gets, and owns completely (RFC 6177). */
const CUSTOMER_PREFIX = 64;

/**
 * Returns the name under which the rate limit counts a client; docs/rate-limit.md has the table. It is the IPv4
 * address, even if an IPv6 address carries it; the full address for a local NAT64; otherwise the /64 network of the
 * IPv6 address.
 */
export const rateLimitSubject = remembered((address): string => {
  const network = parseNetwork(address);
  if (typeof network === 'string' || network.family === 'ipv4') return address;
  const carrier = CARRIERS.find(({ range }) => covers(range, network));
  if (carrier !== undefined) return formatAddress({ family: 'ipv4', base: carrier.ipv4Of(network.base), prefix: 32 });
  if (covers(LOCAL_NAT64, network)) return formatAddress(network);
  const base = (network.base >> BigInt(128 - CUSTOMER_PREFIX)) << BigInt(128 - CUSTOMER_PREFIX);
  return formatNetwork({ family: 'ipv6', base, prefix: CUSTOMER_PREFIX });
});
