/** The work can be interrupted after this many bytes. */
export const STRIDE = 16_384;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The bytes from position `at` on are not JSON. */
export class MalformedJsonError extends Error {
  readonly at: number;
  readonly expected: string;

  constructor(at: number, expected: string) {
    super(`expected ${expected}`);
    this.at = at;
    this.expected = expected;
  }
}

/** The state of the search for the end of a string. */
export interface StringLook {
  /** The position after the closing quote; 0 until it is found. */
  end: number;
  /** The position where the search goes on. */
  at: number;
  hasEscapes: boolean;
  isAscii: boolean;
}

/**
 * Searches at most `STRIDE` bytes for the end of a string.
 * @throws MalformedJsonError
 */
export function lookAtString(bytes: Uint8Array, look: StringLook): void {
  const stop = Math.min(bytes.length, look.at + STRIDE);
  let at = look.at;
  let seen = 0;
  while (at < stop) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) {
      look.end = at + 1;
      break;
    }
    if (byte < 0x20) throw new MalformedJsonError(at, 'no control characters in a string');
    seen |= byte;
    if (byte === BACKSLASH) {
      look.hasEscapes = true;
      at = endOfEscape(bytes, at);
    } else at++;
  }
  if (seen > 0x7f) look.isAscii = false;
  if (look.end === 0 && at >= bytes.length) throw new MalformedJsonError(bytes.length, 'the end of a string');
  look.at = at;
}

function endOfEscape(bytes: Uint8Array, at: number): number {
  const kind = bytes[at + 1];
  if (kind === undefined) throw new MalformedJsonError(bytes.length, 'the rest of an escape');
  if (kind !== 0x75) {
    if ('"\\/bfnrt'.includes(String.fromCharCode(kind))) return at + 2;
    throw new MalformedJsonError(at + 1, 'one of " \\ / b f n r t u behind a backslash');
  }
  for (let i = at + 2; i < at + 6; i++) {
    if (!isHexDigit(bytes[i])) throw new MalformedJsonError(Math.min(i, bytes.length), 'four hexadecimal digits');
  }
  return at + 6;
}

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/**
 * Returns the position where the number ends that begins at `from`.
 * @throws MalformedJsonError
 */
export function endOfNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === 0x2d ? from + 1 : from;
  at = bytes[at] === 0x30 ? at + 1 : endOfDigits(bytes, at);
  if (bytes[at] === 0x2e) at = endOfDigits(bytes, at + 1);
  if (((bytes[at] ?? 0) | 0x20) === 0x65) {
    const sign = bytes[at + 1];
    at = endOfDigits(bytes, sign === 0x2b || sign === 0x2d ? at + 2 : at + 1);
  }
  return at;
}

function endOfDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(bytes[at])) at++;
  if (at === from) throw new MalformedJsonError(Math.min(at, bytes.length), 'a digit');
  return at;
}

const WORDS = ['true', 'false', 'null'].map((word) => Buffer.from(word));

/**
 * Returns the position where the `true`, `false` or `null` ends that begins at `from`.
 * @throws MalformedJsonError
 */
export function endOfWord(bytes: Buffer, from: number): number {
  for (const word of WORDS) {
    if (bytes.compare(word, 0, word.length, from, Math.min(bytes.length, from + word.length)) === 0)
      return from + word.length;
  }
  throw new MalformedJsonError(from, 'a value');
}
