/** Character codes. Comparing codes is fast. */
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const LETTER_N = 0x6e;

/** The kind of a value in JSON text. `other`: a number, true or false. */
export type ValueKind = 'object' | 'array' | 'text' | 'null' | 'other';

/** Returns the kind of the value that begins at `at`. */
export function kindAt(text: string, at: number): ValueKind {
  const code = text.charCodeAt(at);
  if (code === OPEN_BRACE) return 'object';
  if (code === OPEN_BRACKET) return 'array';
  if (code === QUOTE) return 'text';
  return code === LETTER_N ? 'null' : 'other';
}

export function isCommaAt(text: string, at: number): boolean {
  return text.charCodeAt(at) === COMMA;
}

export function isEndAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === CLOSE_BRACE || code === CLOSE_BRACKET;
}

const isSpace = (code: number): boolean => code === 0x20 || (code >= 0x09 && code <= 0x0d);

/** Returns the first position from `at` on that is not white space. */
export function behindSpace(text: string, at: number): number {
  let end = at;
  while (isSpace(text.charCodeAt(end))) end++;
  return end;
}

/** Returns the position behind the value that begins at `at`. All functions of this file expect valid JSON. */
export function behindValue(text: string, at: number): number {
  const kind = kindAt(text, at);
  if (kind === 'text') return behindString(text, at);
  if (kind !== 'object' && kind !== 'array') return behindWord(text, at);
  let depth = 0;
  for (let i = at; i < text.length;) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = behindString(text, i);
    else {
      i++;
      if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++;
      else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return i;
    }
  }
  return text.length;
}

/** Returns the position behind the number or word that begins at `at`. */
function behindWord(text: string, at: number): number {
  let end = at + 1;
  while (end < text.length && !isCommaAt(text, end) && !isEndAt(text, end) && !isSpace(text.charCodeAt(end))) end++;
  return end;
}

/** Returns the position behind the string that begins at `at`. */
export function behindString(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end + 1;
  }
  return text.length;
}

/** Returns the value of the string between two positions. */
export function stringBetween(text: string, from: number, to: number): string {
  const raw = text.slice(from + 1, to - 1);
  return raw.includes('\\') ? (JSON.parse(text.slice(from, to)) as string) : raw;
}

/** Returns the names of an object's members in their order. A parser would leave out names that occur twice. */
export function memberNames(text: string): string[] {
  const names: string[] = [];
  let at = behindSpace(text, 0);
  if (kindAt(text, at) !== 'object') return names;
  at = behindSpace(text, at + 1);
  while (kindAt(text, at) === 'text') {
    const end = behindString(text, at);
    names.push(stringBetween(text, at, end));
    const value = behindSpace(text, behindSpace(text, end) + 1);
    at = behindSpace(text, behindSpace(text, behindValue(text, value)) + 1);
  }
  return names;
}
