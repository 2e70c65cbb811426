import { z } from 'zod';
import { cursorText } from './cursors.ts';

const DEFAULT_LIMIT = 50;
const LIMIT_MAX = 200;

/** The query parameters of a page. */
export function pageQuery() {
  return {
    cursor: cursorText().optional().meta({ description: '`next_cursor` of the page before, under the same filter' }),
    limit: z.coerce
      .number()
      .int()
      .min(1)
      .max(LIMIT_MAX)
      .default(DEFAULT_LIMIT)
      .meta({ description: `items of a page, 1 to ${LIMIT_MAX}; ${DEFAULT_LIMIT} unless given` }),
  };
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Null on the last page. */
  readonly next_cursor: string | null;
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
  'and still have a `next_cursor`: the search goes on from there. Bounds in time make it short. A page also ends with the item that makes it longer than about 1 MiB.';
