/** What ECMAScript has and the compiler's library does not declare yet: a reviver's third argument, and numbers as raw text. */
const Json = JSON as unknown as {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
};

/**
 * Parses JSON text from a store for an answer: a number that a double cannot
 * hold is kept as it is written, so that it leaves as it came.
 */
export function storedJson(text: string | null): unknown {
  if (text === null) return null;
  return Json.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? Json.rawJSON(source) : value,
  );
}
