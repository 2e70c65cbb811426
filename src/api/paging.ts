import { z } from 'zod';

const DEFAULT_LIMIT = 50;
const LIMIT_MAX = 200;

/** The query parameters of a page: `cursor`, decoded to where the page before ended, and `limit`. */
export function pageQuery<Position extends z.ZodType>(position: Position) {
  return {
    cursor: cursorOf(position).optional().meta({ description: '`next_cursor` of the page before' }),
    limit: z.coerce
      .number()
      .int()
      .min(1)
      .max(LIMIT_MAX)
      .default(DEFAULT_LIMIT)
      .meta({ description: `items of a page, 1 to ${LIMIT_MAX}; ${DEFAULT_LIMIT} unless given` }),
  };
}

/** Opaque to clients: base64url of the JSON of a position. */
function cursorOf<Position extends z.ZodType>(position: Position) {
  return z
    .string()
    .max(500)
    .transform((text, context) => {
      try {
        return JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as unknown;
      } catch {
        context.addIssue({ code: 'custom', message: 'not a cursor that a page returned' });
        return z.NEVER;
      }
    })
    .pipe(position);
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Null on the last page. */
  readonly next_cursor: string | null;
}

/**
 * Makes a page of rows.
 * @param rows one more than `limit` if there are further ones
 */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => unknown,
  view: (row: Row) => Item,
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = rows.length > limit ? shown.at(-1) : undefined;
  const next = last === undefined ? null : Buffer.from(JSON.stringify(positionOf(last))).toString('base64url');
  return { items: shown.map(view), next_cursor: next };
}

export function pageSchema<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}
