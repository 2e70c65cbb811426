import type { Steps } from '../lifecycle/slices.ts';
import { jsonPointer, type FieldError } from './field-error.ts';
import { isExact } from './json-number.ts';
import { endOfNumber, endOfWord, lookAtString, MalformedJsonError, STRIDE, type StringLook } from './json-tokens.ts';

/** Maximum number of errors that are listed, so that the response is not larger than the body that it is about. */
export const ERRORS_LISTED_MAX = 100;

/** Maximum number of objects and arrays of one body. Parsed by a handler, they take 30 times the memory of their text. */
const PARTS_MAX = 1_000_000;

/** Maximum number of members of one object. A payload of the usual size has fewer, and many more take a parser seconds. */
const MEMBERS_MAX = 100_000;

/** Maximum number of names that are kept at the same time, for all open objects together. */
const OPEN_NAMES_MAX = 200_000;

/** Up to this many names are compared one by one, because a set would cost more for a small object. */
const FEW_NAMES = 8;

/** Receives the values that a scan finds. Positions are counted in bytes of the body. */
export interface ScanListener {
  /** Called where a value begins. */
  begin(scan: JsonScan, at: number): void;
  /** Called where the value ends that began at the same depth. */
  end(scan: JsonScan, at: number): void;
  /** Called for every token. The white space between tokens is left out. */
  token(from: number, to: number): void;
}

/** An object or array that is open at the current place of the scan. */
class Level {
  isObject = false;
  few: string[] = [];
  many: Set<string> | null = null;
  /** The member that is being read. */
  name = '';
  /** The item that is being read. */
  index = 0;

  open(isObject: boolean): void {
    this.isObject = isObject;
    this.name = '';
    this.few.length = 0;
    this.many = null;
    this.index = 0;
  }

  get names(): number {
    return this.many?.size ?? this.few.length;
  }

  /** @returns false if the object has that member already */
  enter(name: string): boolean {
    this.name = name;
    if (this.many === null) {
      if (this.few.includes(name)) return false;
      this.few.push(name);
      if (this.few.length > FEW_NAMES) this.many = new Set(this.few);
      return true;
    }
    const { size } = this.many;
    return this.many.add(name).size > size;
  }
}

type Expected = 'value' | 'value or ]' | 'name' | 'name or }' | 'colon' | 'comma or end' | 'nothing';

const EXPECTED_TEXT: Readonly<Record<Expected, string>> = {
  value: 'a value',
  'value or ]': 'a value or ]',
  name: 'the name of a member',
  'name or }': 'the name of a member or }',
  colon: 'a colon',
  'comma or end': 'a comma or the end of the object or array',
  nothing: 'nothing more',
};

/** Ends the scan when a limit is exceeded. */
class TooMuch extends Error {}

/**
 * Scans the bytes of a JSON text (UTF-8) once, in slices. It accepts exactly the texts that `JSON.parse` accepts. In
 * addition it reports what `JSON.parse` silently accepts: numbers that a double cannot hold, members that an object
 * names twice, nesting that is too deep, and too many objects, arrays or members. It builds no values.
 */
export class JsonScan {
  /** The problems found so far, at most `ERRORS_LISTED_MAX`. */
  readonly faults: FieldError[] = [];
  /** Number of open objects and arrays. */
  depth = 0;
  readonly bytes: Buffer;
  private readonly depthMax: number;
  private readonly listener: ScanListener;
  private readonly levels: Level[] = [];
  private parts = 0;
  private openNames = 0;
  private expected: Expected = 'value';
  private readonly string: StringLook = { end: 0, at: 0, hasEscapes: false, isAscii: true };

  constructor(bytes: Buffer, depthMax: number, listener: ScanListener) {
    this.bytes = bytes;
    this.depthMax = depthMax;
    this.listener = listener;
  }

  /**
   * Scans to the end of the text, or to the place where a limit is exceeded.
   * @throws MalformedJsonError
   */
  *run(): Steps<void> {
    const { bytes } = this;
    // Skip a byte order mark.
    let at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
    let pauseAt = STRIDE;
    try {
      while (at < bytes.length) {
        if (at >= pauseAt) {
          yield;
          pauseAt = at + STRIDE;
        }
        const byte = bytes[at] as number;
        if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) at++;
        else if (byte === 0x22) {
          this.beginString(at);
          for (;;) {
            lookAtString(bytes, this.string);
            if (this.string.end > 0) break;
            yield;
          }
          at = this.endString(at);
        } else at = this.token(byte, at);
      }
    } catch (error) {
      if (error instanceof TooMuch) return;
      throw error;
    }
    if (this.expected !== 'nothing') throw new MalformedJsonError(bytes.length, EXPECTED_TEXT[this.expected]);
  }

  /** Returns the member of the object, or the index in the array, that is being read at a depth. */
  at(depth: number): string | number {
    const level = this.levels[depth] as Level;
    return level.isObject ? level.name : level.index;
  }

  private level(): Level {
    return this.levels[this.depth - 1] as Level;
  }

  private beginString(at: number): void {
    const { expected, string } = this;
    if (expected === 'value' || expected === 'value or ]') this.listener.begin(this, at);
    else if (expected !== 'name' && expected !== 'name or }') this.unexpected(at);
    string.at = at + 1;
    string.end = 0;
    string.hasEscapes = false;
    string.isAscii = true;
  }

  private endString(from: number): number {
    const { end } = this.string;
    this.listener.token(from, end);
    if (this.expected === 'value' || this.expected === 'value or ]') this.endValue(end);
    else this.enterMember(from, end);
    return end;
  }

  private enterMember(from: number, to: number): void {
    const level = this.level();
    if (level.enter(this.nameAt(from, to))) this.openNames++;
    else this.report('duplicate_member', 'an object names this member twice');
    if (level.names > MEMBERS_MAX || this.openNames > OPEN_NAMES_MAX) {
      this.report(
        'too_many_members',
        `more than ${MEMBERS_MAX} members in one object, or too many in all open objects together`,
      );
      throw new TooMuch();
    }
    this.expected = 'colon';
  }

  private nameAt(from: number, to: number): string {
    const { hasEscapes, isAscii } = this.string;
    if (hasEscapes) return JSON.parse(this.bytes.toString('utf8', from, to)) as string;
    return isAscii ? this.bytes.toString('latin1', from + 1, to - 1) : this.bytes.toString('utf8', from + 1, to - 1);
  }

  /** Reads a token that is not a string. @returns the position where it ends */
  private token(byte: number, at: number): number {
    const { expected, listener } = this;
    switch (byte) {
      case 0x2c: // ,
        if (expected !== 'comma or end') this.unexpected(at);
        this.nextItem();
        break;
      case 0x3a: // :
        if (expected !== 'colon') this.unexpected(at);
        this.expected = 'value';
        break;
      case 0x7b: // {
      case 0x5b: // [
        this.requireValue(at);
        listener.begin(this, at);
        this.open(byte === 0x7b);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        this.requireEnd(byte === 0x7d, at);
        listener.token(at, at + 1);
        this.openNames -= this.level().names;
        this.depth--;
        this.endValue(at + 1);
        return at + 1;
      default: {
        this.requireValue(at);
        listener.begin(this, at);
        const isNumber = byte === 0x2d || (byte >= 0x30 && byte <= 0x39);
        const end = isNumber ? endOfNumber(this.bytes, at) : endOfWord(this.bytes, at);
        if (isNumber) this.checkNumber(at, end);
        listener.token(at, end);
        this.endValue(end);
        return end;
      }
    }
    listener.token(at, at + 1);
    return at + 1;
  }

  private nextItem(): void {
    const level = this.level();
    this.expected = level.isObject ? 'name' : 'value';
    if (!level.isObject) level.index++;
  }

  private open(isObject: boolean): void {
    if (this.depth === this.depthMax) {
      this.report('nesting_too_deep', `nested deeper than ${this.depthMax} levels of the body`);
      throw new TooMuch();
    }
    if (++this.parts > PARTS_MAX) {
      this.report('too_many_parts', `more than ${PARTS_MAX} objects and arrays in one body`);
      throw new TooMuch();
    }
    (this.levels[this.depth++] ??= new Level()).open(isObject);
    this.expected = isObject ? 'name or }' : 'value or ]';
  }

  private checkNumber(from: number, to: number): void {
    const source = this.bytes.toString('latin1', from, to);
    if (isExact(source)) return;
    this.report('inexact_number', 'a double-precision number cannot hold this exactly; send it as a string', source);
  }

  private requireValue(at: number): void {
    if (this.expected !== 'value' && this.expected !== 'value or ]') this.unexpected(at);
  }

  private requireEnd(ofObject: boolean, at: number): void {
    const { expected } = this;
    const isEmpty = expected === (ofObject ? 'name or }' : 'value or ]');
    if (!isEmpty && !(expected === 'comma or end' && this.level().isObject === ofObject)) this.unexpected(at);
  }

  private endValue(at: number): void {
    this.expected = this.depth === 0 ? 'nothing' : 'comma or end';
    this.listener.end(this, at);
  }

  private unexpected(at: number): never {
    throw new MalformedJsonError(at, EXPECTED_TEXT[this.expected]);
  }

  private report(code: string, message: string, given?: string): void {
    if (this.faults.length >= ERRORS_LISTED_MAX) return;
    const path = jsonPointer(
      this.levels.slice(0, this.depth).map((level) => (level.isObject ? level.name : level.index)),
    );
    this.faults.push({ path, code, message, ...(given === undefined ? {} : { given: shorten(given) }) });
  }
}

const GIVEN_LENGTH_MAX = 60;

/** Shortens a text for an error. */
export function shorten(text: string): string {
  return text.length <= GIVEN_LENGTH_MAX ? text : `${text.slice(0, GIVEN_LENGTH_MAX - 1)}…`;
}
