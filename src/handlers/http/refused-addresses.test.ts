import { isIPv6, type BlockList } from 'node:net';
import { describe, expect, it } from 'vitest';
import { networkOf } from '../../config/networks.ts';
import { METADATA_ADDRESSES, refusedAddresses } from './refused-addresses.ts';

const refuses = (list: BlockList, address: string): boolean => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');

describe('refusedAddresses', () => {
  it.each([
    ['this host', '0.0.0.0', '::'],
    ['loopback', '127.0.0.1', '127.255.255.254', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::127.0.0.1'],
    ['private', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '::ffff:10.0.0.1'],
    ['carrier-grade NAT', '100.64.0.1', '100.127.255.255'],
    ['link-local', '169.254.0.1', 'fe80::1', 'fec0::1'],
    ['unique local', 'fc00::1', 'fdff::1'],
    ['multicast and broadcast', '224.0.0.1', '239.255.255.255', '255.255.255.255', 'ff02::1'],
    ['NAT64', '64:ff9b::808:808', '64:ff9b:1::1'],
    ['tunnels', '2002:7f00:1::', '2001::1'],
    ['metadata', '169.254.169.254', '::ffff:169.254.169.254', 'fd00:ec2::254', '168.63.129.16', '100.100.100.200'],
    ['documentation and tests', '192.0.2.1', '198.18.0.1', '203.0.113.9', '2001:db8::1'],
    ['not assigned', '240.0.0.1', '1::', '4000::1', 'e000::1'],
  ])('refuses %s', (_, ...addresses) => {
    const list = refusedAddresses([]);
    expect(addresses.filter((address) => !refuses(list, address))).toEqual([]);
  });

  it('refuses every metadata address, even within allowed ranges', () => {
    const list = refusedAddresses(['0.0.0.0/1', '128.0.0.0/1', '::/1', '8000::/1'].map(networkOf));
    expect(METADATA_ADDRESSES.filter((address) => !refuses(list, address))).toEqual([]);
    for (const alone of METADATA_ADDRESSES) expect(refuses(refusedAddresses([networkOf(alone)]), alone)).toBe(false);
  });

  it('does not refuse public addresses', () => {
    const list = refusedAddresses([]);
    const addresses = [
      '1.1.1.1',
      '8.8.8.8',
      '100.63.255.255',
      '100.128.0.0',
      '172.15.255.255',
      '172.32.0.0',
      '168.63.129.17',
      '223.255.255.255',
    ];
    const six = ['2606:4700::1111', '2a00:1450::1', '::ffff:8.8.8.8'];
    expect([...addresses, ...six].filter((address) => refuses(list, address))).toEqual([]);
  });

  it('cuts an allowed network out of a larger refused one', () => {
    const list = refusedAddresses(['127.0.0.1/32', '10.20.0.0/16', 'fd12:3456::/32'].map(networkOf));
    const free = ['127.0.0.1', '::ffff:127.0.0.1', '10.20.0.0', '10.20.255.255', 'fd12:3456::1'];
    const kept = [
      '127.0.0.0',
      '127.0.0.2',
      '::ffff:127.0.0.2',
      '10.19.255.255',
      '10.21.0.0',
      'fd12:3455:ffff::1',
      'fd12:3457::',
      '::1',
      '10.0.0.1',
    ];
    expect(free.filter((address) => refuses(list, address))).toEqual([]);
    expect(kept.filter((address) => !refuses(list, address))).toEqual([]);
  });

  it('allows a metadata address only if exactly this address is listed', () => {
    expect(refuses(refusedAddresses(['0.0.0.0/0', 'fd00::/8'].map(networkOf)), '169.254.169.254')).toBe(true);
    expect(refuses(refusedAddresses(['fd00::/8'].map(networkOf)), 'fd00:ec2::254')).toBe(true);
    expect(refuses(refusedAddresses(['169.254.169.254'].map(networkOf)), '169.254.169.254')).toBe(false);
    expect(refuses(refusedAddresses(['169.254.0.0/16'].map(networkOf)), '169.254.1.1')).toBe(false);
  });

  it('allows all addresses if whole families are listed', () => {
    const list = refusedAddresses(['0.0.0.0/0', '::/0'].map(networkOf));
    expect(
      ['127.0.0.1', '10.0.0.1', '::1', 'fe80::1', '64:ff9b::1'].filter((address) => refuses(list, address)),
    ).toEqual([]);
  });
});
