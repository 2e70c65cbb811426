import type { Kysely } from '@mikro-orm/postgresql';
import type { Tables } from './reader.ts';

/** Tables whose columns are known by name only. */
export type AnyTables = Record<string, Record<string, unknown>>;

/** A select that is not run yet. */
interface Select {
  as(name: string): unknown;
}

export interface BoundedSelect {
  readonly rows: Select;
  /** The columns of the rows. */
  readonly columns: readonly string[];
  /** Columns whose bytes count, as far as they are not null. */
  readonly longColumns: readonly string[];
  readonly order: readonly (readonly [column: string, direction: 'asc' | 'desc'])[];
  /** The row whose long columns pass this sum is the last one. */
  readonly mostBytes: number;
}

/**
 * Makes a select that returns the rows of another one in order, each with `size`, the bytes of its long columns, and
 * `total`, the sum up to this row. PostgreSQL leaves out the rows behind the one that passes `mostBytes`, so that it does
 * not send them either.
 */
export function withinBytes<Row>(db: Kysely<Tables>, select: BoundedSelect) {
  const { rows, columns, longColumns, order, mostBytes } = select;
  const any = db as unknown as Kysely<AnyTables>;
  const sized = any
    .selectFrom(rows.as('rows') as 'rows')
    .select([...columns])
    .select((eb) => {
      const bytesOf = (column: string) =>
        eb.fn.coalesce(eb.fn<number>('octet_length', [eb.cast<string>(eb.ref(column), 'text')]), eb.lit(0));
      return longColumns
        .map(bytesOf)
        .reduce((sum, bytes) => eb(sum, '+', bytes))
        .as('size');
    });
  const counted = any
    .selectFrom(sized.as('sized') as unknown as 'sized')
    .select([...columns, 'size'])
    .select((eb) =>
      eb.fn
        .sum<number>('size')
        .over((over) => order.reduce((ordered, [column, direction]) => ordered.orderBy(column, direction), over))
        .as('total'),
    );
  const bounded = any
    .selectFrom(counted.as('counted') as unknown as 'counted')
    .select([...columns, 'size', 'total'])
    .where((eb) => eb(eb('total', '-', eb.ref('size')), '<', mostBytes));
  return order.reduce((query, [column, direction]) => query.orderBy(column, direction), bounded).$castTo<Row>();
}
