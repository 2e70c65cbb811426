import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** A secret that was just made. Its text is shown once and never stored. */
export interface NewSecret {
  /** The public part, by which the secret is found, listed and logged. */
  readonly id: string;
  readonly text: string;
  /** SHA-256 of the text. A fast hash is enough, because nobody can guess 190 random bits. */
  readonly hash: Buffer;
}

const PREFIX = 'sch_';
const ID_LENGTH = 8;
const RANDOM_LENGTH = 32;
/** 62^6 is more than 2^32. */
const CHECKSUM_LENGTH = 6;

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** The form of a secret. `docs/access.md` gives it to scanners of leaks, so it never changes. */
export const SECRET_PATTERN = 'sch_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}';

const WHOLE = new RegExp(`^${SECRET_PATTERN}$`);

/** The form of the public id of a secret. */
export const SECRET_ID = /^[0-9A-Za-z]{8}$/;

/**
 * Makes a secret: `sch_`, the public id, `_`, 32 random characters, and a checksum of all of them.
 * @param randomBytes returns random bytes, like `crypto.randomBytes`
 */
export function makeSecret(randomBytes: (size: number) => Uint8Array): NewSecret {
  const id = randomText(ID_LENGTH, randomBytes);
  const body = `${PREFIX}${id}_${randomText(RANDOM_LENGTH, randomBytes)}`;
  const text = body + checksumOf(body);
  return { id, text, hash: Buffer.from(hashOfSecret(text), 'hex') };
}

/** Returns the public id of a text that is a whole secret, which the checksum shows; null for any other text. */
export function secretIdOf(text: string): string | null {
  if (!WHOLE.test(text)) return null;
  const body = text.slice(0, -CHECKSUM_LENGTH);
  if (checksumOf(body) !== text.slice(-CHECKSUM_LENGTH)) return null;
  return text.slice(PREFIX.length, PREFIX.length + ID_LENGTH);
}

/** Returns whether a text was meant to be a secret of ours, although it may not be a whole one. */
export function looksLikeSecret(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** Returns the SHA-256 of a secret's text in hexadecimal digits. */
export function hashOfSecret(text: string): string {
  return hash('sha256', text, 'hex');
}

/** Secrets within other texts, also incomplete ones. The public id may be shown. */
const WITHIN_TEXT = /(sch_[0-9A-Za-z]{8}_)[0-9A-Za-z]{8,}/g;

/** Replaces all secrets within a text, except for their public ids. */
export function withoutSecrets(text: string): string {
  return text.includes(PREFIX) ? text.replaceAll(WITHIN_TEXT, '$1(hidden)') : text;
}

function checksumOf(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    text = DIGITS.charAt(rest % DIGITS.length) + text;
    rest = Math.floor(rest / DIGITS.length);
  }
  return text;
}

/** Bytes from here on are dropped. Otherwise some digits would be more likely than others. */
const FAIR_BYTES = 256 - (256 % DIGITS.length);

function randomText(length: number, randomBytes: (size: number) => Uint8Array): string {
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length - text.length)) {
      if (byte < FAIR_BYTES) text += DIGITS.charAt(byte % DIGITS.length);
    }
  }
  return text;
}
