import { expect, it } from 'vitest';
import { parsePublicUrl } from './public-url.ts';

it.each([
  ['https://tasks.example.org', 'https://tasks.example.org'],
  ['https://tasks.example.org:8443', 'https://tasks.example.org:8443'],
  ['https://tasks.example.org:443', 'https://tasks.example.org'],
  ['HTTPS://Tasks.Example.ORG', 'https://tasks.example.org'],
  ['https://192.0.2.1', 'https://192.0.2.1'],
  ['http://localhost:8000', 'http://localhost:8000'],
  ['http://127.0.0.1:8000', 'http://127.0.0.1:8000'],
  ['http://[::1]:8000', 'http://[::1]:8000'],
])('reads %s', (text, origin) => {
  expect(parsePublicUrl(text)).toBe(origin);
});

it.each([
  'tasks.example.org',
  'https://',
  'https://tasks.example.org/',
  'https://tasks.example.org/scheduler',
  'https://tasks.example.org?x',
  'https://tasks.example.org#x',
  'https://ops@tasks.example.org',
  'https://tasks.example.org:0x',
  'https://tasks.example.org:99999',
  'https://*.example.org',
  'https://tasks example.org',
  'https:\\\\tasks.example.org',
  'ftp://localhost',
  'http://tasks.example.org',
  'http://10.0.0.1',
  'http://localhost.example.org',
])('refuses %s', (text) => {
  expect(parsePublicUrl(text)).toBeNull();
});
