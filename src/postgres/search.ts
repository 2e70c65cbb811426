import { LIST_SEARCH_MS } from '../config/timings.ts';
import { type Clock, systemClock } from '../core/clock.ts';

/** How far one page looks for rows that fit its filter. */
export interface SearchLimits {
  /** Rows that one statement looks at. */
  readonly sliceRows: number;
  /** After this many milliseconds no further statement is begun. */
  readonly searchMs: number;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
}

export const SEARCH_LIMITS: SearchLimits = { sliceRows: 10_000, searchMs: LIST_SEARCH_MS };

/**
 * Bytes of the long columns of a page: the row with which it passes them is its last. PostgreSQL counts them, so that it
 * does not send more either.
 */
export const PAGE_BYTES_MAX = 1_048_576;

/** What PostgreSQL says of a row beside its columns, where it counts bytes. Both in bytes of the long columns. */
export interface Counted {
  /** Of this row. */
  readonly size: number;
  /** Of this row and those before it. */
  readonly total: number;
}

/** What one statement found among the next rows of the order. */
export interface Slice<Row, Position> {
  /** Those that fit, in order. */
  readonly rows: readonly Row[];
  /** Where the slice ended; null if nothing lies behind it. */
  readonly end: Position | null;
  /** Of the long columns of the rows. From what was allowed on, rows behind the last one were left out. */
  readonly bytes: number;
}

/** The rows of a page. There may be fewer than were asked for, even none, and still more behind them. */
export interface Found<Row, Position> {
  readonly rows: readonly Row[];
  /** Where the next page goes on; null on the last one. */
  readonly next: Position | null;
}

/**
 * Looks for the rows of a page slice by slice, until it is full, the rows end
 * or its time is over. So a rare filter on millions of rows costs a bounded time a
 * page, and no statement comes near its time-out.
 * A page of more than `PAGE_BYTES_MAX` ends with the row that passes it.
 * @param read one slice behind a position, with at most so many rows, and no row behind that many bytes
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
    // One more than the page holds tells whether there is another page.
    const slice = await read(position, limit + 1 - rows.length, bytesLeft);
    rows.push(...slice.rows);
    if (rows.length > limit) return firstOf(rows, limit, positionOf);
    bytesLeft -= slice.bytes;
    if (bytesLeft <= 0) return { rows, next: positionOf(rows.at(-1) as Row) };
    position = slice.end;
    if (position === null || clock.monotonicMs() >= untilMs) return { rows, next: position };
  }
}

/** The first `limit` of the rows, where one more was read if there is one, or fewer where PostgreSQL stopped for their bytes. */
export function firstOfCounted<Row extends Counted, Position>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => Position,
): Found<Row, Position> {
  const last = rows.at(-1);
  const isFull = last !== undefined && rows.length <= limit && last.total >= PAGE_BYTES_MAX;
  return isFull ? { rows, next: positionOf(last) } : firstOf(rows, limit, positionOf);
}

/** The first `limit` of the rows, where one more was read if there is one. */
export function firstOf<Row, Position>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => Position,
): Found<Row, Position> {
  const shown = rows.slice(0, limit);
  const last = rows.length > limit ? shown.at(-1) : undefined;
  return { rows: shown, next: last === undefined ? null : positionOf(last) };
}

/** What a slice's statement says of a row beside its columns. */
export interface Looked {
  /** From 1, among the rows that were looked at. */
  readonly nth: number;
  readonly fits: boolean;
}

/** The last row that a slice looks at comes with those that fit, whether or not it does: the next slice begins behind it. */
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
