/** JSON text that is sent unchanged. It is neither parsed nor written again. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Wraps the text of a `json` column for a response. Null stays null. */
export function storedJson(text: string | null): JsonText | null {
  return text === null ? null : new JsonText(text);
}

/**
 * A task's payload: the text that the client sent, without the white space between tokens. Numbers, escapes and the
 * order of members are unchanged.
 */
export class Payload extends JsonText {
  /** Length of the text in UTF-8. */
  readonly bytes: number;
  /**
   * The value of the member `action`; undefined if there is none. If the value is an object or array, it is only known
   * to be one.
   */
  readonly action: unknown;

  constructor(text: string, bytes: number, action: unknown) {
    super(text);
    this.bytes = bytes;
    this.action = action;
  }

  static of(value: unknown): Payload {
    const text = JSON.stringify(value);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    const action = isObject && Object.hasOwn(value, 'action') ? (value as { action: unknown }).action : undefined;
    return new Payload(text, Buffer.byteLength(text), action);
  }

  /**
   * Parses the text at every call. The value is not kept, because it takes many times the memory of its text and
   * few callers need it.
   */
  value(): unknown {
    return JSON.parse(this.text);
  }
}

/** JSON that is generated piece by piece while it is sent. */
export class JsonPieces {
  readonly pieces: Iterable<string>;

  constructor(pieces: Iterable<string>) {
    this.pieces = pieces;
  }
}

/** Writes plain data like `JSON.stringify`, and every `JsonText` in it as its own text. */
export function toJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (value instanceof JsonText) return value.text;
  if (Array.isArray(value)) {
    let items = '';
    for (const item of value) items += items === '' ? toJson(item) : `,${toJson(item)}`;
    return `[${items}]`;
  }
  let members = '';
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined) continue;
    members += `${members === '' ? '' : ','}${JSON.stringify(name)}:${toJson(member)}`;
  }
  return `{${members}}`;
}
