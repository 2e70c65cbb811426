import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createIdSource, type IdSource } from './ids.ts';
import { SHARDS, shardOf, shardOfQueue } from './shard.ts';

it('the shard of a queue never changes, because it is part of ids', () => {
  const queues = ['default', 'emails', 'system.webhooks', 'A', 'z'.repeat(64)];
  // The first 16 bits of the SHA-256 of the names are 37a8, cedb, ec95, 559a and 7299.
  expect(queues.map(shardOfQueue)).toEqual([0x3a8, 0x2db, 0x095, 0x19a, 0x299]);
});

it('queues are spread over all shards', () => {
  const counts = Array.from({ length: SHARDS }, () => 0);
  for (let i = 0; i < 30 * SHARDS; i++) (counts[shardOfQueue(`queue-${i}`)] as number)++;
  // The counts are about 30, with a standard deviation of about 5.
  expect(Math.min(...counts)).toBeGreaterThan(5);
  expect(Math.max(...counts)).toBeLessThan(65);
});

const restOf = (id: string): bigint => BigInt(`0x${id.replaceAll('-', '')}`) >> 10n;

it('ids carry the shard of their queue, and all their other bits stay free', () => {
  const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
  const random = fc.uint8Array({ minLength: 10, maxLength: 10 });
  fc.assert(
    fc.property(name, name, random, (queue, other, bytes) => {
      const source = (): IdSource =>
        createIdSource(
          () => 1_795_478_014_998,
          () => bytes,
        );
      const idOf = (to: string): string => source().next(to);
      expect(shardOf(idOf(queue))).toBe(shardOfQueue(queue));
      expect(restOf(idOf(queue))).toBe(restOf(idOf(other)));
    }),
  );
});

it('reads a shard from any id', () => {
  expect(shardOf('01a20ad4-4c16-7329-b884-4ed3d81e0000')).toBe(0);
  expect(shardOf('01a20ad4-4c16-7329-b884-4ed3d81e03ff')).toBe(1_023);
  expect(shardOf('01a20ad4-4c16-7329-b884-ffffffffffff')).toBe(1_023);
  expect(shardOf('01a20ad4-4c16-7329-b884-4ed3d81e0400')).toBe(0);
});
