import { BlockList, isIP, isIPv4 } from 'node:net';
import { formatAddress, parseNetwork, type Network } from '../config/networks.ts';

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

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** Without zone, and IPv4 where it is IPv4 inside IPv6; null if it is no address. */
function plainAddress(text: string): string | null {
  const [address = ''] = text.split('%');
  const plain = MAPPED.exec(address)?.[1] ?? address;
  return isIP(plain) === 0 ? null : plain;
}

/** Some proxies write `1.2.3.4:5678` and `[::1]:5678`. */
function withoutPort(text: string): string {
  return /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
}

/**
 * Whom a rate limit counts together: an IPv4 address, or the /64 network of an
 * IPv6 one, since a single customer owns all of it (RFC 6177).
 */
export function rateLimitSubject(address: string): string {
  if (!address.includes(':')) return address;
  const network = parseNetwork(address);
  if (typeof network === 'string') return address;
  return `${formatAddress(network).split(':').slice(0, 4).join(':')}::/64`;
}
