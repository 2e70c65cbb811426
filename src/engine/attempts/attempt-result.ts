/**
 * Adds a result to a failure, which is kept with the attempt like the result of a success.
 * The property is not enumerable, because enumerable properties of an error are logged and a result must not be.
 */
export function withResult<Failure extends Error>(failure: Failure, result: unknown): Failure {
  return Object.defineProperty(failure, 'result', { value: result, enumerable: false });
}

/** Returns the result of a failure, or undefined. Team handlers may set it as a plain property `result`. */
export function resultOf(thrown: unknown): unknown {
  try {
    return Error.isError(thrown) && 'result' in thrown ? thrown.result : undefined;
  } catch {
    // A hostile getter threw. Its error must not escape from here.
    return undefined;
  }
}
