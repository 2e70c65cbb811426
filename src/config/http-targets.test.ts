import { describe, expect, it } from 'vitest';
import { isHttpTarget, parseHttpTarget } from './http-targets.ts';

const covers = (target: string, url: string): boolean | null => {
  const parsed = parseHttpTarget(target);
  return parsed === null ? null : isHttpTarget(new URL(url), parsed);
};

describe('HTTP targets', () => {
  it.each([
    ['api.example.org', 'https://api.example.org/x'],
    ['api.example.org', 'http://API.example.org.:8080/'],
    ['API.Example.org', 'https://api.example.org'],
    ['*.example.org', 'https://a.b.example.org'],
    ['*', 'http://anything'],
    ['https://api.example.org', 'https://api.example.org'],
    ['api.example.org:8443', 'https://api.example.org:8443/'],
    ['api.example.org:443', 'https://api.example.org/'],
    ['api.example.org:80', 'http://api.example.org/'],
    ['10.0.0.5', 'http://0xa.0.0.5/'],
    ['10.0.0.5', 'http://167772165/'],
    ['[::1]:8080', 'http://[0:0:0:0:0:0:0:1]:8080/'],
    ['https://*:8443', 'https://x.example:8443'],
  ])('%s covers %s', (target, url) => {
    expect(covers(target, url)).toBe(true);
  });

  it.each([
    ['api.example.org', 'https://xapi.example.org'],
    ['api.example.org', 'https://api.example.org.evil.example'],
    ['api.example.org', 'https://evil.example/api.example.org'],
    ['api.example.org', 'https://api.example.org@evil.example/'],
    ['*.example.org', 'https://example.org'],
    ['*.example.org', 'https://evilexample.org'],
    ['https://api.example.org', 'http://api.example.org'],
    ['api.example.org:443', 'http://api.example.org/'],
    ['api.example.org:8443', 'https://api.example.org/'],
    ['10.0.0.5', 'http://10.0.0.50/'],
  ])('%s does not cover %s', (target, url) => {
    expect(covers(target, url)).toBe(false);
  });

  it.each([
    '',
    'a b',
    'ftp://x',
    'x/path',
    'x:0',
    'x:65536',
    'x:',
    'user@x',
    '*x',
    'a.*.b',
    'https://',
    '.x',
    'x.',
    '-x',
    '[::1',
  ])('refuses "%s"', (text) => {
    expect(parseHttpTarget(text)).toBeNull();
  });
});
