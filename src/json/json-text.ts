/** JSON that is sent as the text it is, neither parsed nor written anew. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Text of a `json` column, for an answer; null stays null. */
export function storedJson(text: string | null): JsonText | null {
  return text === null ? null : new JsonText(text);
}

/** A task's payload: the text that came, without the white space between its tokens. Numbers, escapes and the order of members are as given. */
export class Payload extends JsonText {
  /** Length of the text in UTF-8. */
  readonly bytes: number;
  /** What an object's member `action` is; undefined where there is none. Of an object or array, only that it is one. */
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

  /** Parses it, each time anew: a parsed payload takes many times the memory of its text, and few need it. */
  value(): unknown {
    return JSON.parse(this.text);
  }
}

/** JSON that is made piece by piece while it is sent. */
export class JsonPieces {
  readonly pieces: Iterable<string>;

  constructor(pieces: Iterable<string>) {
    this.pieces = pieces;
  }
}

/** As `JSON.stringify` writes plain data, with every `JsonText` in it as its own text. */
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
