import { describe, expect, it } from 'vitest';
import { authModeOf, exposureOf } from './auth-mode.ts';
import { networkOf } from './networks.ts';

describe('authModeOf', () => {
  it('needs keys unless only this machine can reach the API', () => {
    expect(authModeOf({ AUTH: 'auto', HOST: '0.0.0.0' })).toBe('keys');
    expect(authModeOf({ AUTH: 'auto', HOST: '127.0.0.1' })).toBe('open');
  });

  it('does what is said explicitly', () => {
    expect(authModeOf({ AUTH: 'open', HOST: '0.0.0.0' })).toBe('open');
    expect(authModeOf({ AUTH: 'keys', HOST: '127.0.0.1' })).toBe('keys');
  });
});

describe('exposureOf', () => {
  const proxies = [networkOf('10.0.0.0/8')];

  it('says why an open API can be reached by others', () => {
    expect(exposureOf({ AUTH: 'open', HOST: '0.0.0.0', TRUSTED_PROXIES: [] })).toContain('HOST is 0.0.0.0');
    expect(exposureOf({ AUTH: 'auto', HOST: '127.0.0.1', TRUSTED_PROXIES: proxies })).toContain('TRUSTED_PROXIES');
  });

  it('says nothing with keys, or on loopback', () => {
    expect(exposureOf({ AUTH: 'auto', HOST: '127.0.0.1', TRUSTED_PROXIES: [] })).toBeNull();
    expect(exposureOf({ AUTH: 'keys', HOST: '127.0.0.1', TRUSTED_PROXIES: proxies })).toBeNull();
    expect(exposureOf({ AUTH: 'auto', HOST: '0.0.0.0', TRUSTED_PROXIES: proxies })).toBeNull();
  });
});
