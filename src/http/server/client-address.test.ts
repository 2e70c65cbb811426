import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { networkOf } from '../../config/networks.ts';
import { createClientAddressOf, rateLimitSubject } from './client-address.ts';

describe('createClientAddressOf', () => {
  const trusting = createClientAddressOf(['10.0.0.0/8', '192.168.1.1', 'fd00::/8'].map(networkOf));

  it.each([
    ['a client without proxies', '203.0.113.9', undefined, '203.0.113.9'],
    ['an untrusted peer, whatever it claims', '203.0.113.9', '1.2.3.4', '203.0.113.9'],
    ['a trusted proxy', '10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['the address right of those that the client invented', '10.1.2.3', '6.6.6.6, 203.0.113.9', '203.0.113.9'],
    ['a chain of trusted proxies', '10.1.2.3', '203.0.113.9, 192.168.1.1, fd00::5', '203.0.113.9'],
    ['the leftmost when all are trusted', '10.1.2.3', '10.9.9.9, 10.8.8.8', '10.9.9.9'],
    ['the proxy when the header is nonsense', '10.1.2.3', 'unknown', '10.1.2.3'],
    ['the proxy when there is no header', '10.1.2.3', undefined, '10.1.2.3'],
    ['IPv4 inside IPv6', '::ffff:10.1.2.3', '::ffff:203.0.113.9', '203.0.113.9'],
    ['IPv4 inside IPv6 in another spelling', '0:0:0:0:0:FFFF:0a01:0203', '::ffff:cb00:7109', '203.0.113.9'],
    ['ports', '10.1.2.3', '203.0.113.9:4711, [fd00::1]:80', '203.0.113.9'],
    ['a zone', 'fe80::1%eth0', undefined, 'fe80::1'],
    ['a connection that is gone', undefined, '1.2.3.4', 'unknown'],
  ])('finds %s', (_name, socket, forwarded, expected) => {
    expect(trusting(socket, forwarded)).toBe(expected);
  });

  it('trusts no proxy by default', () => {
    expect(createClientAddressOf([])('127.0.0.1', '1.2.3.4')).toBe('127.0.0.1');
  });
});

/** The rows `| address | counted as | why |` of docs/rate-limit.md, whose first two columns are code. */
const documented = [
  ...readFileSync(new URL('../../../docs/rate-limit.md', import.meta.url), 'utf8').matchAll(
    /^\| `([^`]+)` \| `([^`]+)` \|/gm,
  ),
].map(([, address = '', subject = '']) => [address, subject] as const);

describe('rateLimitSubject', () => {
  it.each(documented)('counts %s as %s, as documented', (address, subject) => {
    expect(rateLimitSubject(address)).toBe(subject);
  });

  it('finds all kinds of addresses in the document', () => {
    expect(documented.length).toBeGreaterThanOrEqual(14);
  });

  it.each([
    // Addresses next to the special ranges are ordinary networks.
    ['64:ff9b:0:0:0:1::', '64:ff9b:0:0:0:0:0:0/64'],
    ['64:ff9a:ffff:ffff:ffff:ffff:cb00:7109', '64:ff9a:ffff:ffff:0:0:0:0/64'],
    ['64:ff9b:2::cb00:7109', '64:ff9b:2:0:0:0:0:0/64'],
    ['2001:1::cb00:7109', '2001:1:0:0:0:0:0:0/64'],
    ['2003:cb00:7109::1', '2003:cb00:7109:0:0:0:0:0/64'],
    ['unknown', 'unknown'],
  ])('counts %s as %s', (address, subject) => {
    expect(rateLimitSubject(address)).toBe(subject);
  });

  it('is the same for all spellings and IPv6 forms of one address', () => {
    const spellings = [
      '203.0.113.9',
      '64:ff9b::203.0.113.9',
      '64:ff9b::cb00:7109',
      '64:FF9B:0:0:0:0:CB00:7109',
      '::ffff:0:203.0.113.9',
      '2002:cb00:7109::1',
      '2002:cb00:7109:ffff::1',
      '2001:0:4136:e378:8000:63bf:34ff:8ef6',
      '2001:0:5ef5:79fb:0:1:34ff:8ef6',
    ];
    expect([...new Set(spellings.map(rateLimitSubject))]).toEqual(['203.0.113.9']);
  });
});
