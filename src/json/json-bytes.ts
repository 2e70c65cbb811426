/**
 * Returns the longest beginning of a text that takes at most `maxBytes` bytes within a JSON string, in UTF-8 and
 * without the quotes. It never ends within a surrogate pair.
 */
export function startWithinJsonBytes(text: string, maxBytes: number): string {
  // No character takes more than six bytes, so most texts fit without a look at each character.
  if (text.length * ESCAPED_BYTES <= maxBytes) return text;
  let bytes = 0;
  for (let i = 0; i < text.length;) {
    const point = text.codePointAt(i) as number;
    bytes += jsonBytesOf(point);
    if (bytes > maxBytes) return text.slice(0, i);
    i += point > 0xffff ? 2 : 1;
  }
  return text;
}

/** The length of an escape such as `\u0001`. */
const ESCAPED_BYTES = 6;

/** Returns the number of bytes that `JSON.stringify` writes for a character. */
function jsonBytesOf(point: number): number {
  if (point < 0x20) return SHORT_ESCAPES.has(point) ? 2 : ESCAPED_BYTES;
  if (point === 0x22 || point === 0x5c) return 2;
  if (point < 0x80) return 1;
  if (point < 0x800) return 2;
  if (point >= 0xd800 && point <= 0xdfff) return ESCAPED_BYTES;
  return point > 0xffff ? 4 : 3;
}

/** Backspace, tab, line feed, form feed, carriage return. */
const SHORT_ESCAPES = new Set([8, 9, 10, 12, 13]);
