/**
 * One step of a path. `child`: to the member of that name in an object, or to the item at that index in an array. `every`:
 * to all members or items. `below`: to the members of that name at every level.
 */
export type PathStep =
  | { readonly kind: 'child'; readonly key: string | number }
  | { readonly kind: 'every' }
  | { readonly kind: 'below'; readonly key: string };

/** Where a value lies in JSON: a subset of JSONPath (RFC 9535). */
export interface RedactionPath {
  /** As it was given. */
  readonly text: string;
  readonly steps: readonly PathStep[];
}

export const PATH_LENGTH_MAX = 1_000;
export const PATH_STEPS_MAX = 64;

const SHORT_NAME = /[A-Za-z_\u{80}-\u{d7ff}\u{e000}-\u{10ffff}][0-9A-Za-z_\u{80}-\u{d7ff}\u{e000}-\u{10ffff}]*/uy;
const QUOTED = /'((?:[^'\\]|\\(?:[bfnrt/\\']|u[0-9A-Fa-f]{4}))*)'|"((?:[^"\\]|\\(?:[bfnrt/\\"]|u[0-9A-Fa-f]{4}))*)"/uy;
const INDEX = /(?:0|[1-9]\d{0,9})(?!\d)/y;

/**
 * Reads a path: `$` for the whole value, then any number of `.name`, `['name']`, `[0]`, `[*]`, `.*` and `..name`.
 * @returns the path, or what is wrong with it: the position, counted from 1, and what was expected there
 */
export function parseRedactionPath(text: string): RedactionPath | string {
  if (text.length > PATH_LENGTH_MAX) return `expected at most ${PATH_LENGTH_MAX} characters, it has ${text.length}`;
  const reader = new PathReader(text);
  try {
    const steps = reader.steps();
    return steps.length > PATH_STEPS_MAX
      ? `expected at most ${PATH_STEPS_MAX} steps, it has ${steps.length}`
      : { text, steps };
  } catch (error) {
    if (!(error instanceof Unexpected)) throw error;
    return `position ${reader.at + 1}: expected ${error.expected}`;
  }
}

class Unexpected extends Error {
  readonly expected: string;

  constructor(expected: string) {
    super(expected);
    this.expected = expected;
  }
}

class PathReader {
  at = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  steps(): PathStep[] {
    if (!this.takes('$')) throw new Unexpected('`$`, which stands for the whole value');
    const steps: PathStep[] = [];
    while (this.at < this.text.length) steps.push(this.step());
    return steps;
  }

  private step(): PathStep {
    if (this.takes('..')) return { kind: 'below', key: this.nameBelow() };
    if (this.takes('.')) {
      if (this.takes('*')) return { kind: 'every' };
      return { kind: 'child', key: this.shortName("a name or `*`; a name with other characters is written ['name']") };
    }
    if (!this.takes('[')) throw new Unexpected('`.`, `..`, `[` or the end');
    const step = this.inBrackets();
    if (!this.takes(']')) throw new Unexpected('`]`');
    return step;
  }

  private inBrackets(): PathStep {
    if (this.takes('*')) return { kind: 'every' };
    const index = this.match(INDEX)?.[0];
    if (index !== undefined) return { kind: 'child', key: Number(index) };
    return { kind: 'child', key: this.quotedName('a name in quotes, an index from 0 to 9999999999, or `*`') };
  }

  private nameBelow(): string {
    if (!this.takes('[')) return this.shortName('a name, or [ and a name in quotes');
    const name = this.quotedName('a name in quotes');
    if (!this.takes(']')) throw new Unexpected('`]`');
    return name;
  }

  private shortName(expected: string): string {
    const name = this.match(SHORT_NAME)?.[0];
    if (name === undefined) throw new Unexpected(expected);
    return name;
  }

  private quotedName(expected: string): string {
    const from = this.at;
    const [, single, double] = this.match(QUOTED) ?? [];
    const body =
      double ??
      single?.replaceAll(/\\.|"/g, (part) => (part === '"' ? String.raw`\"` : part === String.raw`\'` ? "'" : part));
    const name = body === undefined ? null : jsonString(body);
    if (name !== null) return name;
    this.at = from;
    throw new Unexpected(expected);
  }

  private takes(word: string): boolean {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found !== null) this.at += found[0].length;
    return found;
  }
}

/** Reads the inside of a JSON string; null if it has control characters, which RFC 9535 does not allow either. */
function jsonString(body: string): string | null {
  try {
    return JSON.parse(`"${body}"`) as string;
  } catch {
    return null;
  }
}
