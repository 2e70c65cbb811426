import { messageOf, storableText } from '../core/errors.ts';

/**
 * The deepest nesting of a value that is kept, in levels; a payload has the same limit. A deeper value would break
 * readers: the parsers of some clients fail at 64 levels, and our own parser fails at a few thousand.
 */
export const KEPT_DEPTH_MAX = 64;

/** The reason why a value cannot be kept. */
export type NotKept = 'not_serialisable' | 'too_large' | 'too_deep';

/** The JSON text of a value (null for undefined), or the reason why it cannot be kept, with a message. */
export type KeptJson = { readonly json: string | null } | { readonly notKept: NotKept; readonly message: string };

/**
 * Writes a value as JSON text that the stores and every reader can handle. Never throws, even if the value does.
 * @param what names the value in messages, such as "the result"
 * @param bytesMax the largest text that is kept, in bytes of UTF-8
 */
export function keptJson(what: string, value: unknown, bytesMax: number): KeptJson {
  if (value === undefined) return { json: null };
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    return isStackOverflow(error) ? tooDeep(what) : notSerialisable(what, messageOf(error));
  }
  if (json === undefined) return notSerialisable(what, `it is a ${typeof value}`);
  const bytes = Buffer.byteLength(json);
  if (bytes > bytesMax) {
    return { notKept: 'too_large', message: `${what} has ${bytes} bytes as JSON; at most ${bytesMax} are kept` };
  }
  return isDeeperThan(KEPT_DEPTH_MAX, json) ? tooDeep(what) : { json };
}

/** Maximum number of characters that are kept of a message that is not ours. */
const WHY_LIMIT = 1_000;

function notSerialisable(what: string, why: string): KeptJson {
  return { notKept: 'not_serialisable', message: `${what} cannot be written as JSON: ${storableText(why, WHY_LIMIT)}` };
}

function tooDeep(what: string): KeptJson {
  return {
    notKept: 'too_deep',
    message: `${what} is nested deeper than ${KEPT_DEPTH_MAX} levels, which is the maximum`,
  };
}

function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && messageOf(error).includes('call stack');
}

/** Character codes. Comparing codes is fast, which matters because every result is scanned. */
const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Returns whether valid JSON text is nested deeper than `most` levels. */
export function isDeeperThan(most: number, json: string): boolean {
  // Each level takes two brackets, so such a short text cannot be too deep.
  if (json.length <= 2 * most) return false;
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const code = json.charCodeAt(i);
    if (code === QUOTE) i = endOfString(json, i);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (++depth > most) return true;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth--;
  }
  return false;
}

/** Returns the index of the quote that closes the string that begins at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end !== -1; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return json.length;
}
