import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../../json/canonical-json.ts';
import { Problem } from '../problem.ts';

/** The request that a cursor belongs to. A cursor is valid only for the same route and the same filter. */
export interface CursorScope {
  /** Method and path of the route. */
  readonly route: string;
  /** Everything that selects and orders the rows. The size of a page is not part of it. */
  readonly filter: unknown;
  /** Path of the cursor in the request, for the error. */
  readonly at: string;
}

/**
 * Seals and opens cursors. A cursor is a position, encrypted with AES-256-GCM under a key that all API processes share.
 * So only cursors that an API process made for the same route and filter are accepted.
 */
export interface Cursors {
  /** Returns the cursor of a position. Null stays null: no page follows. */
  seal(scope: CursorScope, position: object | null): Promise<string | null>;
  /**
   * Returns the position of a cursor; undefined if there is no cursor.
   * @throws Problem `invalid_cursor` if the cursor was not sealed for this scope
   */
  open<Position extends z.ZodType>(
    scope: CursorScope,
    position: Position,
    cursor: string | undefined,
  ): Promise<z.output<Position> | undefined>;
}

const CIPHER = 'aes-256-gcm';
/** The first byte of a cursor names its format, so that a later format can be told apart. */
const VERSION = Buffer.from([1]);
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const EXPECTED = 'expected the `next_cursor` of an answer to the same request';

/** Form of every cursor: base64url of at least the version, the nonce, the tag and two characters. */
const CURSOR = /^[A-Za-z0-9_-]{42,1000}$/;

/** A field or parameter that carries a cursor. */
export function cursorText() {
  return z.string().regex(CURSOR, EXPECTED);
}

/** @param readKey reads the key of 32 bytes; called again after a failure, until it succeeds once */
export function createCursors(readKey: () => Promise<Buffer>): Cursors {
  let known: Promise<Buffer> | undefined;
  const key = async (): Promise<Buffer> => {
    known ??= readKey();
    try {
      return await known;
    } catch (error) {
      known = undefined;
      throw error;
    }
  };

  return {
    async seal(scope, position) {
      if (position === null) return null;
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, await key(), nonce).setAAD(boundTo(scope));
      const text = [cipher.update(JSON.stringify(position), 'utf8'), cipher.final()];
      return Buffer.concat([VERSION, nonce, ...text, cipher.getAuthTag()]).toString('base64url');
    },

    async open(scope, position, cursor) {
      if (cursor === undefined) return undefined;
      const result = position.safeParse(unsealed(Buffer.from(cursor, 'base64url'), await key(), boundTo(scope)));
      if (!result.success) throw invalidCursor(scope.at);
      return result.data;
    },
  };
}

function boundTo({ route, filter }: CursorScope): Buffer {
  return Buffer.from(canonicalJson([route, filter]));
}

/** Returns the value of a sealed cursor; undefined if it was not sealed with this key for this scope. */
function unsealed(bytes: Buffer, key: Buffer, scope: Buffer): unknown {
  const from = VERSION.length + NONCE_BYTES;
  const to = bytes.length - TAG_BYTES;
  if (to <= from || bytes[0] !== VERSION[0]) return undefined;
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(VERSION.length, from), { authTagLength: TAG_BYTES });
  decipher.setAAD(scope).setAuthTag(bytes.subarray(to));
  try {
    return JSON.parse(decipher.update(bytes.subarray(from, to), undefined, 'utf8') + decipher.final('utf8'));
  } catch {
    return undefined;
  }
}

function invalidCursor(at: string): Problem {
  return new Problem('invalid_cursor', 'the cursor does not belong to this request', {
    errors: [{ path: at, code: 'invalid_cursor', message: EXPECTED }],
  });
}
