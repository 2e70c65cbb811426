/**
 * Returns the values of one column for a statement that reads columns with `unnest`, or null if all values are null.
 * `unnest` fills a missing column with nulls, which costs less than an array of nulls: it need not be sent or read.
 * At least one column of the statement must be a whole array.
 */
export function column<Value>(values: readonly (Value | null)[]): readonly (Value | null)[] | null {
  return values.every((value) => value === null) ? null : values;
}
