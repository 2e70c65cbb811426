import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../json/canonical-json.ts';
import { Problem } from './problem.ts';

/** What a cursor belongs to. It opens in a request for the same route and the same scope only. */
export interface CursorScope {
  /** Method and path of the route. */
  readonly route: string;
  /** What selects and orders the rows: the filter, but not the size of a page. */
  readonly filter: unknown;
  /** Where the request carries its cursor, for the error. */
  readonly at: string;
}

/**
 * Cursors as clients hold them: a position, sealed with AES-256-GCM under the key that all API processes share. So a
 * cursor is always one that some API process made, for the same route and filter.
 */
export interface Cursors {
  /** Null for the position null: nothing comes after it. */
  seal(scope: CursorScope, position: object | null): Promise<string | null>;
  /** @throws Problem `invalid_cursor` where it was not sealed for this scope */
  open<Position extends z.ZodType>(
    scope: CursorScope,
    position: Position,
    cursor: string | undefined,
  ): Promise<z.output<Position> | undefined>;
}

const CIPHER = 'aes-256-gcm';
/** The first byte tells how the rest is sealed, so that a later way can be told from this one. */
const VERSION = Buffer.from([1]);
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const EXPECTED = 'expected the `next_cursor` of an answer to the same request';

/** What every cursor looks like: base64url of at least the version, nonce, tag and two characters. */
const CURSOR = /^[A-Za-z0-9_-]{42,1000}$/;

/** A field or parameter that carries a cursor. */
export function cursorText() {
  return z.string().regex(CURSOR, EXPECTED);
}

/** @param readKey reads the key, 32 bytes; asked again until it has answered once */
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

/** Undefined where it was not sealed under this key and for this scope. */
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
