/** One slice of a walk over tasks by id. */
export interface Slice {
  readonly looked: number;
  /** Null if nothing was left to look at. */
  readonly lastId: string | null;
}
