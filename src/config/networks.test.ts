import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { covers, formatAddress, formatNetwork, parseNetwork, subtractNetwork, type Network } from './networks.ts';

const networks = (family: Network['family'], bits: number): fc.Arbitrary<Network> =>
  fc
    .tuple(fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }), fc.integer({ min: 0, max: bits }))
    .map(([address, prefix]) => {
      const hostBits = BigInt(bits - prefix);
      return { family, base: (address >> hostBits) << hostBits, prefix };
    });
const anyNetwork = fc.oneof(networks('ipv4', 32), networks('ipv6', 128));
const single = (family: Network['family'], base: bigint): Network => ({
  family,
  base,
  prefix: family === 'ipv4' ? 32 : 128,
});

describe('parseNetwork', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['127.0.0.1', '127.0.0.1/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '0:0:0:0:0:0:0:0/0'],
    ['::1', '0:0:0:0:0:0:0:1/128'],
    ['fd00::/8', 'fd00:0:0:0:0:0:0:0/8'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8/128'],
    ['64:ff9b::1.2.3.4', '64:ff9b:0:0:0:0:102:304/128'],
    ['::ffff:127.0.0.1', '127.0.0.1/32'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ])('reads %s as %s', (text, expected) => {
    const parsed = parseNetwork(text);
    expect(typeof parsed === 'string' ? parsed : formatNetwork(parsed)).toBe(expected);
  });

  it.each([
    '',
    'localhost',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '::/129',
    '10.0.0.0/8/8',
    '10.0.0',
    'fe80::%eth0/10',
    '0x7f.1',
  ])('says what is wrong with %j', (text) => {
    expect(parseNetwork(text)).toMatch(/^expected /);
  });

  it('refuses an address that is not the first of its range, and names the range', () => {
    expect(parseNetwork('10.1.2.3/8')).toContain('10.0.0.0/8');
  });

  it('reads every formatted network back', () => {
    fc.assert(
      fc.property(networks('ipv4', 32), (network) => {
        expect(parseNetwork(formatNetwork(network))).toEqual(network);
      }),
    );
    fc.assert(
      fc.property(networks('ipv6', 128), (network) => {
        fc.pre(network.base >> 32n !== 0xffffn);
        expect(parseNetwork(formatNetwork(network))).toEqual(network);
      }),
    );
  });
});

describe('subtractNetwork', () => {
  it('leaves exactly the addresses of the network that are outside the hole', () => {
    fc.assert(
      fc.property(anyNetwork, anyNetwork, fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (network, hole, random) => {
        const left = subtractNetwork(network, hole);
        const size = 1n << BigInt((network.family === 'ipv4' ? 32 : 128) - network.prefix);
        // Check a random address of the network, and the edges of the hole, where an error would show.
        for (const base of [network.base + (random % size), hole.base, hole.base - 1n, hole.base + 1n]) {
          if (base < 0n) continue;
          const address = single(network.family, base);
          const expected = covers(network, address) && !covers(hole, address);
          expect(left.filter((range) => covers(range, address)).length, formatAddress(address)).toBe(expected ? 1 : 0);
        }
      }),
    );
  });
});
