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
export function cursorOf<Position extends z.ZodType>(position: Position) {
  return z
    .string()
    .max(500)
    .transform((text, context): z.output<Position> => {
      const result = position.safeParse(decoded(text));
      if (result.success) return result.data;
      // What is wrong inside is nobody's to mend.
      context.addIssue({ code: 'custom', message: 'expected the `next_cursor` of a page' });
      return z.NEVER;
    });
}

function decoded(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Null on the last page. */
  readonly next_cursor: string | null;
}

/** @param next where the next page goes on, as `pageQuery` was told; null if this is the last one */
export function pageOf<Row, Item>(rows: readonly Row[], next: unknown, view: (row: Row) => Item): Page<Item> {
  return { items: rows.map(view), next_cursor: next === null ? null : cursorText(next) };
}

/** What `cursorOf` reads. */
export function cursorText(position: unknown): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

export function pageSchema<Item extends z.ZodType>(item: Item) {
  return z.object({
    items: z.array(item),
    next_cursor: z.string().nullable().meta({ description: 'null on the last page' }),
  });
}

/** For the descriptions of lists with filters. */
export const SEARCHED_PAGES =
  'A page is looked for for about a second. Where few rows fit the filter it can hold fewer items than `limit`, even none, ' +
  'and still have a `next_cursor`: the search goes on from there. Bounds in time make it short.';
