import { LIST_SEARCH_MS } from '../../config/timings.ts';
import { type Clock, systemClock } from '../../core/clock.ts';

/** Limits of the search for the rows of one page. */
export interface SearchLimits {
  /** Number of rows that one statement looks at. */
  readonly sliceRows: number;
  /** Milliseconds after which the search begins no further statement. */
  readonly searchMs: number;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
}

export const SEARCH_LIMITS: SearchLimits = { sliceRows: 10_000, searchMs: LIST_SEARCH_MS };

/**
 * Byte limit for the long columns of a page. The row that reaches the limit is the last row of the page. PostgreSQL
 * counts the bytes, so that it does not send more rows either.
 */
export const PAGE_BYTES_MAX = 1_048_576;

/** Extra columns of a row when PostgreSQL counts bytes. Both count bytes of the long columns. */
export interface Counted {
  /** Bytes of this row. */
  readonly size: number;
  /** Bytes of this row and all rows before it. */
  readonly total: number;
}

/** The result of one statement, which looks at the next rows in the order. */
export interface Slice<Row, Position> {
  /** The rows that fit the filter, in order. */
  readonly rows: readonly Row[];
  /** Position where the slice ended; null if there are no rows behind it. */
  readonly end: Position | null;
  /** Bytes of the long columns of `rows`. If they reach the limit, PostgreSQL left out the rows behind the last one. */
  readonly bytes: number;
}

/** The rows of a page. A page may have fewer rows than requested, even none, although more rows follow. */
export interface Found<Row, Position> {
  readonly rows: readonly Row[];
  /** Position from which the next page continues; null on the last page. */
  readonly next: Position | null;
}

/**
 * Collects the rows of a page slice by slice, until the page is full, the rows end or the time is over. This way, a
 * filter that matches few of millions of rows takes a bounded time per page, and no statement comes near its timeout.
 * A page that reaches `PAGE_BYTES_MAX` ends with the row that reaches it.
 * @param read reads one slice behind `from`: at most `most` rows, and no row behind the one that reaches `mostBytes`
 */
export async function search<Row, Position>(
  { searchMs, clock = systemClock }: SearchLimits,
  from: Position | null,
  limit: number,
  positionOf: (row: Row) => Position,
  read: (from: Position | null, most: number, mostBytes: number) => Promise<Slice<Row, Position>>,
): Promise<Found<Row, Position>> {
  const untilMs = clock.monotonicMs() + searchMs;
  const rows: Row[] = [];
  let position = from;
  let bytesLeft = PAGE_BYTES_MAX;
  for (;;) {
    // One extra row shows whether there is another page.
    const slice = await read(position, limit + 1 - rows.length, bytesLeft);
    rows.push(...slice.rows);
    if (rows.length > limit) return firstOf(rows, limit, positionOf);
    bytesLeft -= slice.bytes;
    if (bytesLeft <= 0) return { rows, next: positionOf(rows.at(-1) as Row) };
    position = slice.end;
    if (position === null || clock.monotonicMs() >= untilMs) return { rows, next: position };
  }
}

/** Like `firstOf`, for rows that PostgreSQL may have cut off at the byte limit. */
export function firstOfCounted<Row extends Counted, Position>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => Position,
): Found<Row, Position> {
  const last = rows.at(-1);
  const isFull = last !== undefined && rows.length <= limit && last.total >= PAGE_BYTES_MAX;
  return isFull ? { rows, next: positionOf(last) } : firstOf(rows, limit, positionOf);
}

/** Returns the first `limit` rows. The caller has read one more row, if there is one, to see whether a page follows. */
export function firstOf<Row, Position>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => Position,
): Found<Row, Position> {
  const shown = rows.slice(0, limit);
  const last = rows.length > limit ? shown.at(-1) : undefined;
  return { rows: shown, next: last === undefined ? null : positionOf(last) };
}

/** Extra columns of a row in a slice's statement. */
export interface Looked {
  /** Number of the row among those the statement looked at, from 1. */
  readonly nth: number;
  readonly fits: boolean;
}

/**
 * Builds a slice from the rows of its statement. The statement returns the last row it looked at even if that row does
 * not fit, because the next slice begins behind it.
 */
export function sliceOf<Row, Position>(
  rows: readonly (Row & Looked & Counted)[],
  sliceRows: number,
  positionOf: (row: Row) => Position,
): Slice<Row, Position> {
  const last = rows.at(-1);
  const fitting = rows.filter(({ fits }) => fits);
  return {
    rows: fitting,
    end: last !== undefined && last.nth === sliceRows ? positionOf(last) : null,
    bytes: fitting.at(-1)?.total ?? 0,
  };
}
