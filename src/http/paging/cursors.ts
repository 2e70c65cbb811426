import { z } from 'zod';
import { Problem } from '../problem.ts';
import type { Seal } from '../seal.ts';

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
 * Seals and opens cursors. A cursor is a sealed position. So only cursors that an API process made for the same route
 * and filter are accepted.
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

const EXPECTED = 'expected the `next_cursor` of an answer to the same request';

/** Form of every cursor: base64url of at least the version, the nonce, the tag and two characters. */
const CURSOR = /^[A-Za-z0-9_-]{42,1000}$/;

/** A field or parameter that carries a cursor. */
export function cursorText() {
  return z.string().regex(CURSOR, EXPECTED);
}

export function createCursors(sealing: Seal): Cursors {
  return {
    async seal({ route, filter }, position) {
      return position === null ? null : sealing.seal([route, filter], position);
    },

    async open({ route, filter, at }, position, cursor) {
      if (cursor === undefined) return undefined;
      const result = position.safeParse(await sealing.open([route, filter], cursor));
      if (!result.success) throw invalidCursor(at);
      return result.data;
    },
  };
}

function invalidCursor(at: string): Problem {
  return new Problem('invalid_cursor', 'the cursor does not belong to this request', {
    errors: [{ path: at, code: 'invalid_cursor', message: EXPECTED }],
  });
}
