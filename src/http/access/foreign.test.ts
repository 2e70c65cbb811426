import { describe, expect, it } from 'vitest';
import { createAllowedHosts } from '../../config/allowed-hosts.ts';
import { ANYBODY, NOBODY, type Client } from '../../core/access/client.ts';
import { Problem } from '../problem.ts';
import type { RequestSession } from '../route.ts';
import { refuseForeign } from './foreign.ts';

const allowed = createAllowedHosts(['tasks.example.org', '*.internal']);

const SHOP: Client = { ...ANYBODY, name: 'shop' };
const SESSION: RequestSession = { id: 'a-session', openedBy: 'secret', expiresAtMs: 0 };

interface Sender {
  readonly client?: Client;
  readonly session?: RequestSession | null;
  readonly forBrowsers?: boolean;
}

function codeOf(method: string, headers: Record<string, string>, sender: Sender = {}): string | null {
  const { client = ANYBODY, session = null, forBrowsers } = sender;
  try {
    refuseForeign(method, { client, session, rawHeaders: headers }, allowed, forBrowsers);
    return null;
  } catch (error) {
    return (error as Problem).code;
  }
}

describe('the names of this server', () => {
  it.each([
    '127.0.0.1:8000',
    '10.1.2.3',
    '[::1]:8000',
    '[fe80::1]',
    'localhost:8000',
    'LOCALHOST',
    'tasks.example.org',
    'Tasks.Example.org.',
    'tasks.example.org:443',
    'a.internal',
    'b.a.internal:8000',
  ])('admits %s', (host) => {
    expect(codeOf('GET', { host })).toBeNull();
  });

  it.each([
    'evil.example',
    'evil.example:8000',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'tasks.example.org.evil.example',
    'xtasks.example.org',
    'internal',
    '.internal',
    'evilinternal',
    '1.2.3',
    'localhost@evil.example',
    'localhost, evil.example',
    'localhost/evil',
    'localhost:80:80',
    '[::1',
    '',
    ' ',
  ])('refuses "%s"', (host) => {
    expect(codeOf('GET', { host })).toBe('unknown_host');
  });

  it('refuses a request without a host', () => {
    expect(codeOf('GET', {})).toBe('unknown_host');
  });

  it('is asked for only where anybody may do everything', () => {
    const host = 'evil.example';
    expect(codeOf('GET', { host }, { client: SHOP })).toBeNull();
    // Public routes ask nobody.
    expect(codeOf('GET', { host }, { client: NOBODY })).toBeNull();
  });

  it('is asked for with a session, whose cookie the browser sends by itself, and where sessions are opened', () => {
    for (const sender of [
      { client: SHOP, session: SESSION },
      { client: NOBODY, forBrowsers: true },
    ]) {
      expect(codeOf('GET', { host: 'evil.example' }, sender)).toBe('unknown_host');
      expect(codeOf('POST', { host: 'evil.example', 'sec-fetch-site': 'same-origin' }, sender)).toBe('unknown_host');
      expect(codeOf('GET', { host: 'tasks.example.org' }, sender)).toBeNull();
    }
  });

  it('is not replaced by a header that nobody has checked', () => {
    for (const authorization of ['x', 'Bearer x', '']) {
      expect(codeOf('GET', { host: 'evil.example', authorization })).toBe('unknown_host');
    }
  });
});

describe('requests of pages of other sites', () => {
  const host = 'tasks.example.org';

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('refuses %s, also with a secret', (method) => {
    expect(codeOf(method, { host, 'sec-fetch-site': 'cross-site' })).toBe('cross_site');
    expect(codeOf(method, { host, 'sec-fetch-site': 'same-site' })).toBe('cross_site');
    expect(codeOf(method, { host, 'sec-fetch-site': 'cross-site', authorization: 'Bearer x' })).toBe('cross_site');
    expect(codeOf(method, { host, 'sec-fetch-site': 'same-origin, cross-site' })).toBe('cross_site');
  });

  it('admits pages of this server, and what people type themselves', () => {
    expect(codeOf('POST', { host, 'sec-fetch-site': 'same-origin' })).toBeNull();
    expect(codeOf('POST', { host, 'sec-fetch-site': 'none' })).toBeNull();
  });

  it.each(['GET', 'HEAD'])('admits %s, which has no effect', (method) => {
    expect(codeOf(method, { host, 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' })).toBeNull();
  });

  it('asks for the origin if the browser says nothing else', () => {
    expect(codeOf('POST', { host, origin: 'https://tasks.example.org' })).toBeNull();
    expect(codeOf('POST', { host: `${host}:8000`, origin: `http://${host}:8000` })).toBeNull();
    for (const origin of ['null', 'https://evil.example', `https://${host}:8000`, `https://${host}.evil.example`, '']) {
      expect(codeOf('POST', { host, origin })).toBe('cross_site');
    }
  });

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])(
    'refuses %s with a session that does not say where it comes from',
    (method) => {
      for (const sender of [{ client: SHOP, session: SESSION }, { forBrowsers: true }]) {
        expect(codeOf(method, { host }, sender)).toBe('cross_site');
        expect(codeOf(method, { host, referer: `https://${host}/ui/` }, sender)).toBe('cross_site');
        expect(codeOf(method, { host, 'sec-fetch-site': 'same-origin' }, sender)).toBeNull();
        expect(codeOf(method, { host, origin: `https://${host}` }, sender)).toBeNull();
        expect(codeOf('GET', { host }, sender)).toBeNull();
      }
      expect(codeOf(method, { host }, { client: SHOP })).toBeNull();
    },
  );

  it('admits programs, which say nothing about sites', () => {
    expect(codeOf('POST', { host })).toBeNull();
  });
});
