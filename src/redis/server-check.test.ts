import { describe, expect, it } from 'vitest';
import { problemsOf } from './server-check.ts';

const info = (version: string, maxmemory: number, policy: string): string =>
  `# Server\r\nredis_version:${version}\r\n# Memory\r\nmaxmemory:${maxmemory}\r\nmaxmemory_human:1.00M\r\nmaxmemory_policy:${policy}\r\n`;

describe('problemsOf', () => {
  it.each([
    ['7.0.15', 0, 'noeviction'],
    ['8.2.1', 1_000_000, 'noeviction'],
    // Without a memory limit, Redis never evicts keys.
    ['10.0.0', 0, 'allkeys-lru'],
  ])('accepts Redis %s with maxmemory %i and %s', (...settings) => {
    expect(problemsOf(info(...settings))).toEqual([]);
  });

  it.each([
    ['6.2.14', 0, 'noeviction', 'expected Redis 7 or newer, given 6.2.14'],
    ['7.2.0', 1, 'volatile-lru', 'expected maxmemory-policy noeviction, given volatile-lru'],
    ['7.2.0', 1, 'allkeys-random', 'expected maxmemory-policy noeviction, given allkeys-random'],
  ])('names the problem of Redis %s with maxmemory %i and %s', (version, maxmemory, policy, problem) => {
    expect(problemsOf(info(version, maxmemory, policy))).toEqual([expect.stringContaining(problem)]);
  });

  it('reports no problem for missing figures', () => {
    expect(problemsOf('# Memory\r\nused_memory:1\r\n')).toEqual([]);
  });
});
