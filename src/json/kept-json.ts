import { messageOf, storableText } from '../core/errors.ts';

/**
 * Levels of nesting that are kept of a value, the same as a payload may have. A deeper value would break readers:
 * the parsers of some clients give up at 64 levels, and our own at a few thousand.
 */
export const KEPT_DEPTH_MAX = 64;

/** Why a value cannot be kept. */
export type NotKept = 'not_serialisable' | 'too_large' | 'too_deep';

/** The JSON text of a value, null for undefined; or why there is none, with a message that says the limit. */
export type KeptJson = { readonly json: string | null } | { readonly notKept: NotKept; readonly message: string };

/**
 * Writes a value as JSON text that the stores and every reader can take. Never throws, whatever the value does.
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

/** Characters of a foreign message that are kept. */
const WHY_LIMIT = 1_000;

function notSerialisable(what: string, why: string): KeptJson {
  return { notKept: 'not_serialisable', message: `${what} cannot be written as JSON: ${storableText(why, WHY_LIMIT)}` };
}

function tooDeep(what: string): KeptJson {
  return {
    notKept: 'too_deep',
    message: `${what} is nested deeper than ${KEPT_DEPTH_MAX} levels, which are kept at most`,
  };
}

function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && messageOf(error).includes('call stack');
}

/** Character codes; compared one by one, since every result is looked through. */
const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Whether valid JSON text is nested deeper than so many levels. */
export function isDeeperThan(most: number, json: string): boolean {
  // Each level takes two brackets: what is so short need not be looked at.
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

/** The index of the quote that closes the string which opens at `start`. */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end !== -1; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return json.length;
}
