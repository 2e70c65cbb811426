/** The names that a client may use, of queues or of actions. */
export interface NamePatterns {
  /** The patterns as they were given, in their order. */
  readonly texts: readonly string[];
  /** True if `*` is one of the patterns. It matches every name that is not reserved. */
  readonly all: boolean;
  /** True if every name matches, reserved names included. Nothing has to be checked then. */
  readonly everything: boolean;
  /** Names that are matched exactly. */
  readonly names: readonly string[];
  /** Beginnings of names, with their dot: `email.` for the pattern `email.*`. */
  readonly prefixes: readonly string[];
  matches(name: string): boolean;
}

/** A name, or the beginning of names up to a dot and `*`, or `*` alone. */
export const NAME_PATTERN = /^(?:\*|[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*(?:\.\*)?)$/;

/** Longest pattern in characters: the longest name of an action. */
export const PATTERN_LENGTH_MAX = 128;

export const PATTERN_RULE = 'a name, a beginning such as `email.*`, or `*` for all';

export function isNamePattern(text: string): boolean {
  return text.length <= PATTERN_LENGTH_MAX && NAME_PATTERN.test(text);
}

/**
 * Makes patterns from their texts. They are names, or beginnings that end at a dot (`email.*` matches `email.send`, not
 * `email` or `emails.send`), or `*`. There are no regular expressions, so that people can read what is allowed.
 * @param reserved names that no pattern matches but the name itself, and beginnings of names that `*` does not match
 */
export function createNamePatterns(texts: readonly string[], reserved: readonly string[]): NamePatterns {
  const all = texts.includes('*');
  const { prefixes, names } = partsOf(texts);
  const exact = new Set(names);
  const kept = partsOf(reserved);
  const isReserved = (name: string): boolean =>
    kept.names.includes(name) || kept.prefixes.some((prefix) => name.startsWith(prefix));
  return {
    texts,
    all,
    everything: all && reserved.every((text) => texts.includes(text)),
    names,
    prefixes,
    matches: (name) =>
      exact.has(name) ||
      (!kept.names.includes(name) && prefixes.some((prefix) => name.startsWith(prefix))) ||
      (all && !isReserved(name)),
  };
}

function partsOf(texts: readonly string[]): { readonly prefixes: string[]; readonly names: string[] } {
  return {
    prefixes: texts.filter((text) => text.endsWith('.*')).map((text) => text.slice(0, -1)),
    names: texts.filter((text) => !text.endsWith('*')),
  };
}

/** Queues of the scheduler itself. Nobody submits tasks to them. */
export const SYSTEM_QUEUE_PREFIX = 'system.';

export function isSystemQueue(name: string): boolean {
  return name.startsWith(SYSTEM_QUEUE_PREFIX);
}

/** Actions that act from inside the cluster. A client has to be granted each of them by its name. */
export const GRANTED_ACTIONS: readonly string[] = ['http.request', 'kubernetes.job'];

export function createQueuePatterns(texts: readonly string[]): NamePatterns {
  return createNamePatterns(texts, [`${SYSTEM_QUEUE_PREFIX}*`]);
}

export function createActionPatterns(texts: readonly string[]): NamePatterns {
  return createNamePatterns(texts, GRANTED_ACTIONS);
}
