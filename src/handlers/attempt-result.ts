/**
 * Gives a failure a result to be kept with its attempt, as a success has one.
 * It is not enumerable: the properties of an error are logged, and a result must not be.
 */
export function withResult<Failure extends Error>(failure: Failure, result: unknown): Failure {
  return Object.defineProperty(failure, 'result', { value: result, enumerable: false });
}

/** The result that a failure carries, or undefined. Team handlers may set it as a plain property `result`. */
export function resultOf(thrown: unknown): unknown {
  try {
    return Error.isError(thrown) && 'result' in thrown ? thrown.result : undefined;
  } catch {
    // A hostile getter: its failure must not become ours.
    return undefined;
  }
}
