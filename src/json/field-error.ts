/** A problem with one field. */
export interface FieldError {
  /** A JSON pointer into the body, or `query:<name>`, `path:<name>`, `header:<name>`. */
  readonly path: string;
  readonly code: string;
  readonly message: string;
  readonly expected?: string;
  readonly given?: string;
}

/** Names of members are cut to this many characters in a pointer, because a name in a body may have megabytes. */
const POINTER_PART_MAX = 200;

/** Returns a JSON pointer (RFC 6901). */
export function jsonPointer(path: readonly PropertyKey[]): string {
  return path.map((part) => `/${pointerPart(String(part))}`).join('');
}

function pointerPart(name: string): string {
  const shown = name.length <= POINTER_PART_MAX ? name : `${name.slice(0, POINTER_PART_MAX - 1)}…`;
  return shown.replaceAll('~', '~0').replaceAll('/', '~1');
}
