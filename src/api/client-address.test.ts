import { describe, expect, it } from 'vitest';
import { networkOf } from '../config/networks.ts';
import { createClientAddressOf, rateLimitSubject } from './client-address.ts';

describe('createClientAddressOf', () => {
  const trusting = createClientAddressOf(['10.0.0.0/8', '192.168.1.1', 'fd00::/8'].map(networkOf));

  it.each([
    ['a client without proxies', '203.0.113.9', undefined, '203.0.113.9'],
    ['an untrusted peer, whatever it claims', '203.0.113.9', '1.2.3.4', '203.0.113.9'],
    ['a trusted proxy', '10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['what the client invented on the left', '10.1.2.3', '6.6.6.6, 203.0.113.9', '203.0.113.9'],
    ['a chain of trusted proxies', '10.1.2.3', '203.0.113.9, 192.168.1.1, fd00::5', '203.0.113.9'],
    ['the leftmost when all are trusted', '10.1.2.3', '10.9.9.9, 10.8.8.8', '10.9.9.9'],
    ['the proxy when the header is nonsense', '10.1.2.3', 'unknown', '10.1.2.3'],
    ['the proxy when there is no header', '10.1.2.3', undefined, '10.1.2.3'],
    ['IPv4 inside IPv6', '::ffff:10.1.2.3', '::ffff:203.0.113.9', '203.0.113.9'],
    ['ports', '10.1.2.3', '203.0.113.9:4711, [fd00::1]:80', '203.0.113.9'],
    ['a zone', 'fe80::1%eth0', undefined, 'fe80::1'],
    ['a connection that is gone', undefined, '1.2.3.4', 'unknown'],
  ])('finds %s', (_name, socket, forwarded, expected) => {
    expect(trusting(socket, forwarded)).toBe(expected);
  });

  it('believes nobody by default', () => {
    expect(createClientAddressOf([])('127.0.0.1', '1.2.3.4')).toBe('127.0.0.1');
  });
});

describe('rateLimitSubject', () => {
  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::7', '2001:db8:1:2::/64'],
    ['2001:0db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::', 'fe80:0:0:0::/64'],
    ['64:ff9b::1.2.3.4', '64:ff9b:0:0::/64'],
  ])('counts %s as %s', (address, subject) => {
    expect(rateLimitSubject(address)).toBe(subject);
  });
});
