import { isUtf8 } from 'node:buffer';
import { JsonScan, type ScanListener } from '../../json/json-scan.ts';
import { Payload } from '../../json/json-text.ts';
import { MalformedJsonError } from '../../json/json-tokens.ts';
import type { Steps } from '../../lifecycle/slices.ts';
import { Problem } from '../problem.ts';

/**
 * Where a body holds tasks: `plain` holds none, `task` is itself one, and the object form names the member with an
 * array of at most `most` tasks. The payloads of tasks are kept as text.
 */
export type BodyShape = 'plain' | 'task' | { readonly member: string; readonly most: number };

/** A parsed body. Each payload in it is a `Payload`. */
export interface GivenBody {
  /** The body. If it has an array of tasks, that array is empty here; `items` has the tasks. */
  readonly value: unknown;
  /** The tasks, up to one more than the limit; null if the body has no array of tasks. */
  readonly items: readonly unknown[] | null;
}

/**
 * Largest size in bytes of a task without its payload, and of a batch without its tasks. Each of these is parsed in one
 * go, which would block the event loop if it were longer.
 */
const REST_MAX_BYTES = 262_144;

/**
 * Reads a JSON body. Refuses values that a round trip through JavaScript would change, so that nothing changes
 * silently. Does not parse payloads.
 * @param depthMax levels of nesting
 * @throws Problem `malformed_json`, `body_too_large`, or `invalid_request` with the path of every fault
 */
export function* parseBody(bytes: Buffer, depthMax: number, shape: BodyShape): Steps<GivenBody> {
  if (!isUtf8(bytes)) throw new Problem('malformed_json', 'the body is not UTF-8');
  const cutter = new Cutter(bytes, shape);
  const scan = new JsonScan(bytes, depthMax, cutter);
  try {
    yield* scan.run();
  } catch (error) {
    if (error instanceof MalformedJsonError) throw yield* malformed(bytes, error);
    throw error;
  }
  if (scan.faults.length > 0) {
    throw new Problem('invalid_request', 'the body contains values that cannot be accepted unchanged', {
      errors: scan.faults,
    });
  }
  return cutter.body();
}

const NOWHERE = -1;

/**
 * Cuts tasks and payloads out of a body while it is scanned. Positions count bytes. A start position is `NOWHERE` while
 * the scan is outside such a value.
 */
class Cutter implements ScanListener {
  private readonly bytes: Buffer;
  private readonly shape: BodyShape;
  private rootFrom = 0;
  private root: unknown;
  private items: unknown[] | null = null;
  private itemsFrom = NOWHERE;
  private itemsTo = NOWHERE;
  private itemFrom = NOWHERE;
  private payloadFrom = NOWHERE;
  private payloadDepth = 0;
  /** The payload that was read last; the gap is its place in the body. */
  private payload: Payload | null = null;
  private gapFrom = NOWHERE;
  private gapTo = NOWHERE;
  private actionFrom = NOWHERE;
  private action: unknown;
  /** End of the last token of a payload. */
  private tokenTo = 0;
  /** The text of the payload without white space. It is used only if the payload has white space between tokens. */
  private compact: Buffer | null = null;
  private compactLength = NOWHERE;

  constructor(bytes: Buffer, shape: BodyShape) {
    this.bytes = bytes;
    this.shape = shape;
  }

  begin(scan: JsonScan, at: number): void {
    if (scan.depth === 0) this.rootFrom = at;
    if (this.payloadFrom !== NOWHERE) {
      if (scan.depth === this.payloadDepth + 1 && scan.at(this.payloadDepth) === 'action') this.actionFrom = at;
    } else if (this.isPayload(scan)) {
      this.payloadFrom = this.tokenTo = at;
      this.payloadDepth = scan.depth;
      this.compactLength = NOWHERE;
      this.action = undefined;
    } else if (typeof this.shape === 'object' && scan.depth > 0 && scan.at(0) === this.shape.member) {
      if (scan.depth === 1 && this.bytes[at] === 0x5b) {
        this.itemsFrom = at;
        this.items = [];
      } else if (scan.depth === 2 && this.itemsFrom !== NOWHERE) this.itemFrom = at;
    }
  }

  end(scan: JsonScan, at: number): void {
    const { depth } = scan;
    if (this.payloadFrom !== NOWHERE) {
      if (depth === this.payloadDepth) this.endPayload(at);
      else if (this.actionFrom !== NOWHERE && depth === this.payloadDepth + 1) this.endAction(at);
    } else if (this.itemFrom !== NOWHERE && depth === 2) {
      this.endItem(at);
    } else if (this.itemsFrom !== NOWHERE && this.itemsTo === NOWHERE && depth === 1) {
      this.itemsTo = at;
    } else if (depth === 0) this.endRoot(scan, at);
  }

  token(from: number, to: number): void {
    if (this.payloadFrom === NOWHERE) return;
    if (from !== this.tokenTo && this.compactLength === NOWHERE) {
      this.compact ??= Buffer.allocUnsafe(this.bytes.length);
      this.compactLength = this.bytes.copy(this.compact, 0, this.payloadFrom, this.tokenTo);
    }
    if (this.compactLength !== NOWHERE) {
      this.compactLength += this.bytes.copy(this.compact as Buffer, this.compactLength, from, to);
    }
    this.tokenTo = to;
  }

  body(): GivenBody {
    return { value: this.root, items: this.items };
  }

  private isPayload(scan: JsonScan): boolean {
    if (this.shape === 'task') return scan.depth === 1 && scan.at(0) === 'payload';
    return this.itemFrom !== NOWHERE && scan.depth === 3 && scan.at(2) === 'payload';
  }

  private endPayload(at: number): void {
    const isCompact = this.compactLength === NOWHERE;
    const text = isCompact
      ? this.bytes.toString('utf8', this.payloadFrom, at)
      : (this.compact as Buffer).toString('utf8', 0, this.compactLength);
    this.payload = new Payload(text, isCompact ? at - this.payloadFrom : this.compactLength, this.action);
    this.gapFrom = this.payloadFrom;
    this.gapTo = at;
    this.payloadFrom = this.actionFrom = NOWHERE;
  }

  private endAction(at: number): void {
    const isContainer = this.bytes[this.actionFrom] === 0x7b || this.bytes[this.actionFrom] === 0x5b;
    this.action = isContainer ? {} : JSON.parse(this.bytes.toString('utf8', this.actionFrom, at));
    this.actionFrom = NOWHERE;
  }

  private endItem(at: number): void {
    const items = this.items as unknown[];
    const { most } = this.shape as { most: number };
    if (items.length <= most) items.push(this.withPayload(this.itemFrom, at));
    this.itemFrom = this.gapFrom = NOWHERE;
    this.payload = null;
  }

  private endRoot(scan: JsonScan, to: number): void {
    // A body with faults is refused, so it need not be parsed.
    if (scan.faults.length > 0) return;
    if (this.itemsTo === NOWHERE) this.root = this.withPayload(this.rootFrom, to);
    else this.root = this.parsed(this.rootFrom, this.itemsFrom, '[]', this.itemsTo, to);
  }

  private withPayload(from: number, to: number): unknown {
    if (this.payload === null) return this.parsed(from, to, '', to, to);
    const value = this.parsed(from, this.gapFrom, 'null', this.gapTo, to) as { payload: unknown };
    value.payload = this.payload;
    return value;
  }

  /** Parses the bytes from `from` to `to`, with a filler in place of the gap. */
  private parsed(from: number, gapFrom: number, filler: string, gapTo: number, to: number): unknown {
    const length = gapFrom - from + to - gapTo;
    if (length > REST_MAX_BYTES) {
      throw new Problem('body_too_large', `the part outside the payloads is longer than ${REST_MAX_BYTES} bytes`);
    }
    return JSON.parse(this.bytes.toString('utf8', from, gapFrom) + filler + this.bytes.toString('utf8', gapTo, to));
  }
}

function* malformed(bytes: Buffer, { at, expected }: MalformedJsonError): Steps<Problem> {
  const { position, line, column } = yield* placeOf(bytes, at);
  const found =
    at < bytes.length ? JSON.stringify(bytes.toString('utf8', at, at + 4).charAt(0)) : 'the end of the body';
  return new Problem(
    'malformed_json',
    `expected ${expected}, found ${found} at position ${position} (line ${line} column ${column})`,
  );
}

/** Bytes between two pauses while a place is counted. */
const COUNT_STRIDE = 65_536;

/**
 * Counts the characters and lines before a byte of a UTF-8 text. Characters are UTF-16 code units, as in JavaScript's own
 * messages. It counts bytes, because the text of a long body and its lines would block the event loop.
 */
function* placeOf(bytes: Buffer, at: number): Steps<{ position: number; line: number; column: number }> {
  let position = 0;
  let line = 1;
  let lineFrom = 0;
  for (let from = 0; from < at; from += COUNT_STRIDE) {
    const to = Math.min(at, from + COUNT_STRIDE);
    for (let i = from; i < to; i++) {
      const byte = bytes[i] as number;
      // A byte that begins with the bits 10 continues a character. One that begins with 11110 begins a character of two
      // code units.
      if ((byte & 0xc0) !== 0x80) position += byte >= 0xf0 ? 2 : 1;
      if (byte === 0x0a) {
        line++;
        lineFrom = position;
      }
    }
    yield;
  }
  return { position, line, column: position - lineFrom + 1 };
}
