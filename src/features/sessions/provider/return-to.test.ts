import { expect, it } from 'vitest';
import { ELSEWHERE } from '../../../../test/harness/lured-elsewhere.ts';
import { returnPath } from './return-to.ts';

it.each([
  ['/', '/'],
  ['/ui/tasks?status=FAILED&after=2026-01-01#list', '/ui/tasks?status=FAILED&after=2026-01-01#list'],
  ['/ui/queues/mail%2Ebulk', '/ui/queues/mail%2Ebulk'],
  ['/ui/../docs', '/docs'],
  ['/loginless', '/loginless'],
  ['/ui?next=//evil.example', '/ui?next=//evil.example'],
  ['/%2F%2Fevil.example', '/%2F%2Fevil.example'],
])('%s is a path of this server', (text, path) => {
  expect(returnPath(text)).toBe(path);
});

it.each(ELSEWHERE)('%j leads to the start', (text) => {
  expect(returnPath(text)).toBe('/');
});

it('nothing leads to the start, and whatever is accepted stays on this server', () => {
  expect(returnPath(undefined)).toBe('/');
  for (const text of ELSEWHERE) {
    expect(new URL(returnPath(text), 'https://tasks.example.org').origin).toBe('https://tasks.example.org');
  }
});
