import { BlockList } from 'node:net';
import { formatAddress, isSingleAddress, networkOf, subtractNetwork, type Network } from '../../config/networks.ts';

/**
 * Addresses that are not public (IANA special-purpose registries, RFC 6890).
 * All of IPv6 outside global unicast, 2000::/3, is refused. That covers loopback, ULA, link-local,
 * multicast, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48) and ranges that are not assigned.
 */
const NOT_PUBLIC = [
  '0.0.0.0/8', // this host
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier-grade NAT, pods of some clouds
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local, metadata
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4', // multicast
  '240.0.0.0/4',
  '::/3',
  '4000::/2',
  '8000::/1',
  '2001::/23', // Teredo and other protocols that carry an IPv4 address inside
  '2001:db8::/32',
  '2002::/16', // 6to4
  '3fff::/20',
].map(networkOf);

/** Addresses at which clouds give credentials to any client. Each is allowed only if exactly this address is listed. */
export const METADATA_ADDRESSES = [
  '169.254.169.254',
  '169.254.170.2', // Amazon ECS
  '169.254.170.23', // Amazon EKS
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254', // Google
  '168.63.129.16', // Azure
  '100.100.100.200', // Alibaba
  'fd00:100::100:200',
  '192.0.0.192', // Oracle
  'fd00:c1::a9fe:a9fe',
  '169.254.42.42', // Scaleway
  'fd00:42::42',
  '169.254.0.23', // Tencent
  '169.254.10.10',
  'fe80::a9fe:a9fe', // OpenStack, Linode
  'fd00:a9fe:a9fe::1',
];
const METADATA = METADATA_ADDRESSES.map(networkOf);

/** The IPv4-mapped range. A rule for it would match every IPv4 address; `BlockList` checks mapped addresses as IPv4. */
const MAPPED: Network = { family: 'ipv6', base: 0xffff_0000_0000n, prefix: 96 };

/**
 * Returns the addresses to which `http.request` must not connect.
 *
 * `BlockList` supports no exceptions, so allowed networks are cut out of the
 * ranges, and only the remaining ranges are listed.
 */
export function refusedAddresses(allowed: readonly Network[]): BlockList {
  const holes = [MAPPED, ...allowed];
  const refused = [...cut(NOT_PUBLIC, holes), ...cut(METADATA, holes.filter(isSingleAddress))];
  const list = new BlockList();
  for (const range of refused) list.addSubnet(formatAddress(range), range.prefix, range.family);
  return list;
}

function cut(ranges: readonly Network[], holes: readonly Network[]): readonly Network[] {
  return holes.reduce((left, hole) => left.flatMap((range) => subtractNetwork(range, hole)), ranges);
}
