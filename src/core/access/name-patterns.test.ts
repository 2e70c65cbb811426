import { describe, expect, it } from 'vitest';
import { createActionPatterns, createQueuePatterns, isNamePattern } from './name-patterns.ts';

describe('isNamePattern', () => {
  it.each(['default', 'email.*', 'email.send', 'a-b_c.d.*', '*'])('accepts %s', (text) => {
    expect(isNamePattern(text)).toBe(true);
  });

  it.each([
    '',
    '.',
    '.*',
    'email*',
    'em*il',
    '*.email',
    '**',
    'a..b',
    'a.*.b',
    'a.*.*',
    ' a',
    'a b',
    '-a',
    'a.',
    '^a$',
  ])('refuses "%s"', (text) => {
    expect(isNamePattern(text)).toBe(false);
  });

  it('refuses what is longer than a name can be', () => {
    expect([isNamePattern('a'.repeat(128)), isNamePattern('a'.repeat(129))]).toEqual([true, false]);
  });
});

describe('createQueuePatterns', () => {
  it('matches names exactly, and beginnings only up to their dot', () => {
    const { matches } = createQueuePatterns(['default', 'email.*']);
    const matched = ['default', 'email.send', 'email.a.b'];
    const others = ['defaults', 'Default', 'email', 'emails.send', 'x.email.send', ''];
    expect([matched.every(matches), others.some(matches)]).toEqual([true, false]);
  });

  it('matches everything with `*`, except the queues of the scheduler itself', () => {
    const { matches } = createQueuePatterns(['*']);
    expect(['default', 'system', 'systems.a', 'system.webhooks'].map(matches)).toEqual([true, true, true, false]);
    expect(createQueuePatterns(['*', 'system.*']).matches('system.webhooks')).toBe(true);
  });

  it('knows when every name matches, so that nothing has to be checked', () => {
    const all = [['*'], ['*', 'system.*'], ['*', 'system.webhooks'], ['system.*'], []];
    expect(all.map((texts) => createQueuePatterns(texts).everything)).toEqual([false, true, false, false, false]);
    expect(createActionPatterns(['*', 'http.request', 'kubernetes.job']).everything).toBe(true);
    expect(createActionPatterns(['*', 'http.request']).everything).toBe(false);
  });

  it('matches nothing without patterns', () => {
    expect(createQueuePatterns([]).matches('default')).toBe(false);
  });
});

describe('createActionPatterns', () => {
  it('grants actions that act from inside the cluster only by their names', () => {
    const { matches } = createActionPatterns(['*']);
    expect(['noop', 'http.request', 'kubernetes.job'].map(matches)).toEqual([true, false, false]);
    expect(createActionPatterns(['http.request']).matches('http.request')).toBe(true);
    const families = createActionPatterns(['http.*', 'kubernetes.*']);
    expect(['http.send', 'http.request', 'kubernetes.job'].map(families.matches)).toEqual([true, false, false]);
  });
});
