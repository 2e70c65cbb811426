import { describe, expect, it } from 'vitest';
import { createRandomHex, createRandomPool } from './random-pool.ts';

describe('createRandomPool', () => {
  it('never hands out a byte twice, for any mix of sizes', () => {
    let drawn = 0;
    // Each number takes four bytes, so that a byte that is handed out twice shows up.
    const take = createRandomPool((size) => {
      const words = Uint32Array.from({ length: size / 4 }, () => drawn++);
      return new Uint8Array(words.buffer);
    });
    const seen = new Set<number>();
    for (let i = 0; i < 5_000; i++) {
      const bytes = take(4 * (1 + (i % 3)));
      for (let at = 0; at < bytes.length; at += 4) {
        const word = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
        expect(seen.has(word)).toBe(false);
        seen.add(word);
      }
    }
  });

  it('draws rarely, and makes an extra draw for a request that is larger than the pool', () => {
    const draws: number[] = [];
    const take = createRandomPool((size) => {
      draws.push(size);
      return new Uint8Array(size);
    });
    for (let i = 0; i < 256; i++) expect(take(16)).toHaveLength(16);
    expect(take(5_000)).toHaveLength(5_000);
    expect(draws).toEqual([4_096, 5_000]);
  });
});

describe('createRandomHex', () => {
  it('never hands out a byte twice, for any mix of sizes, and draws rarely', () => {
    let drawn = 0;
    let draws = 0;
    // Each number takes four bytes, so that a byte that is handed out twice shows up.
    const take = createRandomHex((size) => {
      draws++;
      return new Uint8Array(Uint32Array.from({ length: size / 4 }, () => drawn++).buffer);
    });
    const words = Array.from({ length: 1_000 }, (_, i) => take(i % 2 === 0 ? 16 : 8).match(/[0-9a-f]{8}/g) ?? []);
    expect(new Set(words.flat()).size).toBe(3_000);
    expect(draws).toBe(3);
  });

  it('makes an extra draw for a request that is larger than the pool', () => {
    expect(createRandomHex((size) => new Uint8Array(size))(5_000)).toBe('00'.repeat(5_000));
  });
});
