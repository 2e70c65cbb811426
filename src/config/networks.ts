import { isIP } from 'node:net';

/** A CIDR range. An IPv4-mapped IPv6 range is stored as the IPv4 range. */
export interface Network {
  readonly family: 'ipv4' | 'ipv6';
  /** The first address, as a number of 32 or 128 bits. */
  readonly base: bigint;
  readonly prefix: number;
}

const BITS = { ipv4: 32, ipv6: 128 } as const;
const MAPPED_BASE = 0xffff_0000_0000n;
const MAPPED_PREFIX = 96;

/**
 * Reads `10.0.0.0/8`, `fd00::/8` or a single address.
 * @returns the network, or what is wrong with the text
 */
export function parseNetwork(text: string): Network | string {
  const [address = '', prefixText, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || address.includes('%') || rest.length > 0)
    return 'expected an address or a CIDR range such as 10.0.0.0/8 or fd00::/8';
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const bits = BITS[family];
  if (prefixText !== undefined && (!/^\d{1,3}$/.test(prefixText) || Number(prefixText) > bits)) {
    return `expected a prefix of 0 to ${bits} bits after the slash`;
  }
  const prefix = prefixText === undefined ? bits : Number(prefixText);
  const given = version === 4 ? parseIPv4(address) : parseIPv6(address);
  const network = { family, base: firstOf(given, prefix, bits), prefix } as const;
  // The prefix is probably a mistake, so do not allow the whole range.
  if (network.base !== given)
    return `the address lies inside the range; its first address is ${formatNetwork(network)}`;
  return unmapped(network);
}

/** @throws TypeError that says what is wrong with the text */
export function networkOf(text: string): Network {
  const network = parseNetwork(text);
  if (typeof network === 'string') throw new TypeError(`${text}: ${network}`);
  return network;
}

/** Returns the part of `network` outside `hole`, as the fewest ranges. */
export function subtractNetwork(network: Network, hole: Network): Network[] {
  if (covers(hole, network)) return [];
  if (!covers(network, hole)) return [network];
  return halvesOf(network).flatMap((half) => subtractNetwork(half, hole));
}

export function covers(outer: Network, inner: Network): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  return firstOf(inner.base, outer.prefix, BITS[outer.family]) === outer.base;
}

export function isSingleAddress(network: Network): boolean {
  return network.prefix === BITS[network.family];
}

/** Returns the first address as text, in a form that `net.BlockList` accepts. */
export function formatAddress(network: Network): string {
  const [groups, width] = network.family === 'ipv4' ? [4, 8n] : [8, 16n];
  const parts = Array.from(
    { length: groups },
    (_, index) => (network.base >> (width * BigInt(groups - 1 - index))) & ((1n << width) - 1n),
  );
  return network.family === 'ipv4' ? parts.join('.') : parts.map((part) => part.toString(16)).join(':');
}

export function formatNetwork(network: Network): string {
  return `${formatAddress(network)}/${network.prefix}`;
}

function halvesOf(network: Network): [Network, Network] {
  const prefix = network.prefix + 1;
  const upper = network.base | (1n << BigInt(BITS[network.family] - prefix));
  return [
    { ...network, prefix },
    { ...network, base: upper, prefix },
  ];
}

function firstOf(address: bigint, prefix: number, bits: number): bigint {
  const hostBits = BigInt(bits - prefix);
  return (address >> hostBits) << hostBits;
}

function unmapped(network: Network): Network {
  if (network.family === 'ipv4' || network.prefix < MAPPED_PREFIX || network.base >> 32n !== MAPPED_BASE >> 32n)
    return network;
  return { family: 'ipv4', base: network.base & 0xffff_ffffn, prefix: network.prefix - MAPPED_PREFIX };
}

function parseIPv4(address: string): bigint {
  return address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

/** @param address a text for which `isIP` returns 6 */
function parseIPv6(address: string): bigint {
  const dotted = /[^:]+\.[^:]+$/.exec(address)?.[0];
  const tail = dotted === undefined ? 0n : parseIPv4(dotted);
  const hex =
    dotted === undefined
      ? address
      : `${address.slice(0, -dotted.length)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  const [left = '', right] = hex.split('::');
  const head = left === '' ? [] : left.split(':');
  const end = right === undefined || right === '' ? [] : right.split(':');
  const zeros = Array.from({ length: 8 - head.length - end.length }, () => '0');
  return [...head, ...zeros, ...end].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}
