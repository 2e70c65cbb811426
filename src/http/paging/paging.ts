import { z } from 'zod';
import { cursorText } from './cursors.ts';

const DEFAULT_LIMIT = 50;
const LIMIT_MAX = 200;

/** The query parameters of a list with pages. */
export function pageQuery() {
  return {
    cursor: cursorText()
      .optional()
      .meta({ description: '`next_cursor` of the previous page, which had the same filter' }),
    limit: z.coerce
      .number()
      .int()
      .min(1)
      .max(LIMIT_MAX)
      .default(DEFAULT_LIMIT)
      .meta({ description: `most items of a page, 1 to ${LIMIT_MAX}; default ${DEFAULT_LIMIT}` }),
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

/** Part of the description of lists. */
export const LISTED_FOR_CLIENT =
  'The list has only what belongs to queues of the client. A cursor belongs to the filter, not to the client: whoever ' +
  'follows it sees what is theirs.';

/** Part of the description of lists with filters. */
export const SEARCHED_PAGES =
  'The server spends about one second collecting a page. If few rows match the filter, a page can have fewer items than ' +
  '`limit`, or none, and still have a `next_cursor`: the next request continues the search from there. A narrow time ' +
  'range makes the search faster. A page also ends with the item that makes it longer than about 1 MiB.';
