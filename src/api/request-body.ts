import { jsonPointer, Problem, type FieldError } from './problem.ts';

/** Errors beyond this many are not listed: an answer must not be larger than what it complains about. */
export const ERRORS_LISTED_MAX = 100;

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Reads a JSON body without changing anything silently: what a round trip
 * through JavaScript would change is refused.
 * @param depthMax levels of nesting
 * @throws Problem `malformed_json`, or `invalid_request` with the path of every fault
 */
export function parseBody(bytes: Uint8Array, depthMax: number): unknown {
  const text = decode(bytes);
  // Before the parser, which would build millions of arrays from a few megabytes.
  const faults = findFaults(text, depthMax);
  if (faults.some(({ code }) => TOO_MUCH.has(code))) throw refused(faults);
  const value = parse(text);
  if (faults.length > 0) throw refused(faults);
  return value;
}

function refused(errors: readonly FieldError[]): Problem {
  return new Problem('invalid_request', 'the body contains what cannot be kept as it is', { errors });
}

function decode(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new Problem('malformed_json', 'the body is not UTF-8', { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    // V8 shows the place, as a position or as the text around it.
    throw new Problem('malformed_json', (cause as Error).message, { cause });
  }
}

/** An object or array that is open at the place that the scan has reached. */
interface Level {
  readonly isObject: boolean;
  /** Of an object, made with its first member. */
  keys: Set<string> | null;
  expectsKey: boolean;
  /** The member or the index that is being read. */
  at: string | number;
}

/** Objects and arrays of one body. Empty ones take 30 times the memory of their text: a batch of nothing else, half a gigabyte. */
const PARTS_MAX = 1_000_000;

/** Members of one object: a payload of the usual size has room for fewer, and many more take the parser seconds. */
const MEMBERS_MAX = 100_000;

/** Faults for which the text is not even parsed. */
const TOO_MUCH: ReadonlySet<string> = new Set(['nesting_too_deep', 'too_many_parts', 'too_many_members']);

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/**
 * One pass over JSON text for what `JSON.parse` would take without a word: numbers
 * that a double cannot hold, members named twice, and nesting that is too deep or too much.
 * Of text that is not JSON it finds something or nothing; the parser refuses it.
 */
export function findFaults(text: string, depthMax: number): FieldError[] {
  const faults: FieldError[] = [];
  const levels: Level[] = [];
  let parts = 0;
  const report = (code: string, message: string, given?: string): void => {
    const path = jsonPointer(levels.map(({ at }) => at));
    faults.push({ path, code, message, ...(given === undefined ? {} : { given: shorten(given) }) });
  };

  for (let i = 0; i < text.length && faults.length < ERRORS_LISTED_MAX; i++) {
    const level = levels.at(-1);
    switch (text[i]) {
      case '"': {
        const end = endOfString(text, i);
        if (level?.expectsKey === true && !enterMember(level, text.slice(i, end))) {
          report('duplicate_member', 'an object names this member twice');
        }
        if (level?.keys != null && level.keys.size > MEMBERS_MAX) {
          report('too_many_members', `more than ${MEMBERS_MAX} members in one object`);
          return faults;
        }
        i = end - 1;
        break;
      }
      case '{':
      case '[':
        if (levels.length === depthMax) {
          report('nesting_too_deep', `nested deeper than ${depthMax} levels of the body`);
          return faults;
        }
        if (++parts > PARTS_MAX) {
          report('too_many_parts', `more than ${PARTS_MAX} objects and arrays in one body`);
          return faults;
        }
        levels.push({ isObject: text[i] === '{', keys: null, expectsKey: text[i] === '{', at: 0 });
        break;
      case '}':
      case ']':
        levels.pop();
        break;
      case ',':
        if (level?.isObject === true) level.expectsKey = true;
        else if (level !== undefined) level.at = Number(level.at) + 1;
        break;
      case '-':
      case '0':
      case '1':
      case '2':
      case '3':
      case '4':
      case '5':
      case '6':
      case '7':
      case '8':
      case '9': {
        NUMBER.lastIndex = i;
        const source = NUMBER.exec(text)?.[0] ?? '-';
        if (!isExact(source)) {
          report('inexact_number', 'a double-precision number cannot hold this exactly; send it as a string', source);
        }
        i += source.length - 1;
        break;
      }
      default:
    }
  }
  return faults;
}

/** The index behind the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i + 1;
  }
  return text.length;
}

/** @returns false if the object has that member already */
function enterMember(level: Level, literal: string): boolean {
  const name = literal.includes('\\') ? unescaped(literal) : literal.slice(1, -1);
  level.keys ??= new Set();
  level.at = name;
  level.expectsKey = false;
  const { size } = level.keys;
  return level.keys.add(name).size > size;
}

function unescaped(literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal;
  }
}

/** Every decimal of 15 digits survives the way to double precision and back (IEEE 754, `DBL_DIG`). */
const EXACT_DIGITS = 15;

/** Whether the number that a double makes of a JSON number is the very same one. */
export function isExact(source: string): boolean {
  if (source.length <= EXACT_DIGITS && !/[eE]/.test(source)) return true;
  const value = Number(source);
  return Number.isFinite(value) && canonicalDecimal(String(value)) === canonicalDecimal(source);
}

/** Equal for equal numbers: the digits without zeros at either end, and the power of ten of the last one. Zero has no sign. */
function canonicalDecimal(source: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(source) ?? [];
  const digits = whole + fraction;
  let first = 0;
  let end = digits.length;
  while (first < end && digits[first] === '0') first++;
  while (end > first && digits[end - 1] === '0') end--;
  if (first === end) return '0';
  return `${sign}${digits.slice(first, end)}e${Number(exponent) - fraction.length + digits.length - end}`;
}

const GIVEN_LENGTH_MAX = 60;

/** A text as an error shows it. */
export function shorten(text: string): string {
  return text.length <= GIVEN_LENGTH_MAX ? text : `${text.slice(0, GIVEN_LENGTH_MAX - 1)}…`;
}
