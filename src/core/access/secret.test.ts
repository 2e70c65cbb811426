import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashOfSecret, makeSecret, SECRET_ID, SECRET_PATTERN, secretIdOf, withoutSecrets } from './secret.ts';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Secrets from any random bytes, so also from bytes that are dropped. */
const secrets = fc.array(fc.integer({ min: 0, max: 247 }), { minLength: 80, maxLength: 80 }).map((bytes) => {
  let next = 0;
  return makeSecret((size) => Uint8Array.from({ length: size }, () => bytes[next++ % bytes.length] as number));
});

describe('makeSecret', () => {
  it('makes texts of the documented form, which begin with the public id', () => {
    fc.assert(
      fc.property(secrets, ({ id, text }) => {
        expect(text).toMatch(new RegExp(`^${SECRET_PATTERN}$`));
        expect(id).toMatch(SECRET_ID);
        expect(text.slice(0, 13)).toBe(`sch_${id}_`);
        expect(secretIdOf(text)).toBe(id);
      }),
    );
  });

  it('gives the SHA-256 of the whole text', () => {
    const { text, hash } = makeSecret(randomBytes);
    expect(hash).toEqual(createHash('sha256').update(text).digest());
    expect(hashOfSecret(text)).toBe(hash.toString('hex'));
  });

  it('uses all digits equally often', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 2_000; i++) {
      const { text } = makeSecret(randomBytes);
      for (const digit of text.slice(13, 45)) counts.set(digit, (counts.get(digit) ?? 0) + 1);
    }
    const expected = (2_000 * 32) / 62;
    expect([...counts.keys()].toSorted().join('')).toBe(DIGITS);
    // Seven standard deviations: 62 digits stay within this in all but one of billions of runs.
    for (const count of counts.values()) expect(Math.abs(count - expected)).toBeLessThan(7 * Math.sqrt(expected));
  });

  it('drops bytes that would make some digits more likely', () => {
    const bytes = [255, 248, 0];
    let next = 0;
    const { id } = makeSecret((size) => Uint8Array.from({ length: size }, () => bytes[next++ % 3] as number));
    expect(id).toBe('00000000');
  });
});

describe('secretIdOf', () => {
  it('refuses every text in which one character differs', () => {
    const change = fc.tuple(secrets, fc.nat({ max: 50 }), fc.constantFrom(...DIGITS.split(''), '_', '-'));
    fc.assert(
      fc.property(change, ([{ text }, at, digit]) => {
        fc.pre(text.charAt(at) !== digit);
        expect(secretIdOf(text.slice(0, at) + digit + text.slice(at + 1))).toBeNull();
      }),
    );
  });

  it('refuses secrets that are cut off, or have something before or after them', () => {
    fc.assert(
      fc.property(secrets, fc.nat({ max: 50 }), ({ text }, at) => {
        for (const other of [text.slice(0, at), text.slice(at + 1), ` ${text}`, `${text}\n`, `${text}0`])
          expect(secretIdOf(other)).toBeNull();
      }),
    );
  });

  it('knows a fixed secret: the form never changes', () => {
    const { text } = makeSecret((size) => new Uint8Array(size));
    expect(text).toBe('sch_00000000_000000000000000000000000000000003O0ZPE');
  });
});

describe('withoutSecrets', () => {
  it('leaves only the public ids of secrets within any text', () => {
    fc.assert(
      fc.property(
        fc.string(),
        secrets,
        fc.string(),
        fc.integer({ min: 21, max: 51 }),
        (before, { id, text }, after, length) => {
          const shown = withoutSecrets(`${before}"${text.slice(0, length)}"${after}`);
          expect(shown).toContain(`sch_${id}_(hidden)`);
          expect(shown).not.toContain(text.slice(0, length));
        },
      ),
    );
  });

  it('changes nothing else', () => {
    for (const text of ['', 'sch_', 'the schedule sch_abc', 'sch_00000000']) expect(withoutSecrets(text)).toBe(text);
  });
});
