import { makeSecret, secretIdOf } from '../../src/core/access/secret.ts';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Makes a secret of these parts, with the checksum that belongs to them. So only its hash tells that it is wrong. */
export function forgeSecret(id: string, random: string): string {
  let left = id + random;
  const { text } = makeSecret((size) => {
    const bytes = Uint8Array.from(left.slice(0, size), (digit) => DIGITS.indexOf(digit));
    left = left.slice(size);
    return bytes;
  });
  if (secretIdOf(text) !== id) throw new Error('the forged secret is not whole');
  return text;
}

export const idOf = (secret: string): string => secret.slice(4, 12);

/** Returns the part of a secret that nobody knows. */
export const randomOf = (secret: string): string => secret.slice(13, 45);

/** Returns a text that differs in one character. */
export function withOther(text: string, at: number): string {
  return text.slice(0, at) + (text[at] === 'a' ? 'b' : 'a') + text.slice(at + 1);
}
