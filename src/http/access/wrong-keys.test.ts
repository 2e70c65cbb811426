import { describe, expect, it } from 'vitest';
import { createWrongKeys, WRONG_KEYS_PER_MINUTE } from './wrong-keys.ts';

function fixture() {
  let nowMs = 0;
  const keys = createWrongKeys({ nowMs: () => nowMs, monotonicMs: () => nowMs });
  const refused = (address: string, times: number): number =>
    Array.from({ length: times }, () => keys.count(address)).filter((seconds) => seconds > 0).length;
  return { keys, refused, pass: (ms: number) => void (nowMs += ms) };
}

describe('createWrongKeys', () => {
  it('slows an address down after a hundred wrong keys, and not its neighbours', () => {
    const { refused } = fixture();
    expect(refused('192.0.2.1', WRONG_KEYS_PER_MINUTE + 20)).toBe(20);
    expect(refused('192.0.2.2', WRONG_KEYS_PER_MINUTE)).toBe(0);
  });

  it('says after how many seconds the next one is taken', () => {
    const { keys, refused, pass } = fixture();
    refused('192.0.2.1', WRONG_KEYS_PER_MINUTE);
    const seconds = keys.count('192.0.2.1');
    expect(seconds).toBeCloseTo(60 / WRONG_KEYS_PER_MINUTE);
    pass(seconds * 1_000 + 1);
    expect(keys.count('192.0.2.1')).toBe(0);
  });

  it('takes a hundred a minute in the long run', () => {
    const { refused, pass } = fixture();
    refused('192.0.2.1', WRONG_KEYS_PER_MINUTE);
    let taken = 0;
    for (let second = 0; second < 600; second++) {
      pass(1_000);
      taken += 10 - refused('192.0.2.1', 10);
    }
    expect(taken).toBe(10 * WRONG_KEYS_PER_MINUTE);
  });

  it('counts the addresses of one IPv6 network together', () => {
    const { refused } = fixture();
    refused('2001:db8:1:2::1', WRONG_KEYS_PER_MINUTE);
    expect(refused('2001:db8:1:2::ffff', 1)).toBe(1);
    expect(refused('2001:db8:1:3::1', 1)).toBe(0);
  });

  it('forgets the addresses that have been silent longest, so that its memory is bounded', () => {
    const { refused } = fixture();
    refused('192.0.2.1', WRONG_KEYS_PER_MINUTE);
    for (let i = 0; i < 10_000; i++) refused(`10.0.${i >> 8}.${i & 255}`, 1);
    expect(refused('192.0.2.1', 1)).toBe(0);
  });

  it('remembers an address that goes on, however many others there are', () => {
    const { refused } = fixture();
    refused('192.0.2.1', WRONG_KEYS_PER_MINUTE);
    for (let i = 0; i < 12_000; i++) {
      refused(`10.0.${i >> 8}.${i & 255}`, 1);
      if (i % 5_000 === 0) expect(refused('192.0.2.1', 1)).toBe(1);
    }
    expect(refused('192.0.2.1', 1)).toBe(1);
  });
});
