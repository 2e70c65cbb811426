/** The result of one slice of a walk over the tasks by id. */
export interface IdSlice {
  /** Number of rows that the slice looked at. */
  readonly looked: number;
  /** Id of the last of them; null if no rows were left. */
  readonly lastId: string | null;
}
