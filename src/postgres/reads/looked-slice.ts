import type { Kysely } from '@mikro-orm/postgresql';
import type { Tables } from './reader.ts';
import type { Counted, Looked } from './search.ts';
import { withinBytes, type AnyTables, type BoundedSelect } from './within-bytes.ts';

export interface LookedSlice extends Pick<BoundedSelect, 'longColumns' | 'order' | 'mostBytes'> {
  /** The next `sliceRows` rows in the order, with `fits` beside the columns. */
  readonly looked: BoundedSelect['rows'];
  readonly columns: readonly string[];
  readonly sliceRows: number;
  readonly most: number;
}

/**
 * Makes the select of one slice of a table, for `sliceOf`: at most `most` of the rows that fit, and the last row of a
 * full slice even if it does not fit.
 */
export function lookedSlice<Row>(db: Kysely<Tables>, slice: LookedSlice) {
  const { looked, columns, longColumns, order, sliceRows, most, mostBytes } = slice;
  const any = db as unknown as Kysely<AnyTables>;
  const numbered = any
    .selectFrom(looked.as('looked') as 'looked')
    .select([...columns, 'fits'])
    .select((eb) =>
      eb.fn
        .agg<number>('row_number')
        .over((over) => order.reduce((ordered, [column, direction]) => ordered.orderBy(column, direction), over))
        .as('nth'),
    );
  const picked = any
    .selectFrom(numbered.as('numbered') as unknown as 'numbered')
    .select([...columns, 'nth', 'fits'])
    .where((eb) => eb.or([eb('fits', '=', true), eb('nth', '=', sliceRows)]));
  return withinBytes<Row & Looked & Counted>(db, {
    rows: order.reduce((query, [column, direction]) => query.orderBy(column, direction), picked).limit(most),
    columns: [...columns, 'nth', 'fits'],
    longColumns,
    order,
    mostBytes,
  });
}
