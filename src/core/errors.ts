/**
 * The root of all errors that this project throws on purpose.
 * `code` is stable and documented; `retryable` says whether the same call may
 * succeed later without a change on the caller's side.
 */
export class SchedulerError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  /** The exit code of a process that ends because of this error. */
  readonly exitCode: number = 1;

  constructor(code: string, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** PostgreSQL or Redis did not answer, or not in time. The request itself is not known to be wrong. */
export class StoreUnavailableError extends SchedulerError {
  readonly store: 'postgresql' | 'redis';

  constructor(
    store: 'postgresql' | 'redis',
    cause: unknown,
    { code, message }: { readonly code: string; readonly message: string } = {
      code: `${store}_unavailable`,
      message: `${store} is unavailable`,
    },
  ) {
    super(code, `${message}: ${messageOf(cause)}`, { retryable: true, cause });
    this.store = store;
  }
}

/**
 * Redis answered, but it refused the login or the command. Waiting does not help: an operator has to change the
 * configuration of Redis.
 */
export class StoreRefusedError extends StoreUnavailableError {
  constructor(cause: unknown) {
    super('redis', cause);
  }
}

/**
 * PostgreSQL answers, but it ended a statement: the time limit was over, a lock was not released in time, this process
 * left its transaction idle for too long, or somebody cancelled the statement. The statement changed nothing.
 */
export class StatementTimedOutError extends StoreUnavailableError {
  /** The name of the statement's `.sql` file, or of the read. */
  readonly statement: string;
  /** Whether the statement waited for a lock. Without the locked rows, the same statement may succeed. */
  readonly locked: boolean;

  constructor(cause: unknown, statement: string, locked = false) {
    super('postgresql', cause, {
      code: 'statement_timed_out',
      message: `PostgreSQL ended the statement ${statement}`,
    });
    this.statement = statement;
    this.locked = locked;
  }
}

/** All connections of this process's own pool were in use for too long. The statement was not sent to PostgreSQL. */
export class PoolExhaustedError extends StoreUnavailableError {
  constructor(cause: unknown) {
    super('postgresql', cause, {
      code: 'pool_exhausted',
      message: 'no connection of the own pool came free in time',
    });
  }
}

/** PostgreSQL refused a row because of its content: a value, a constraint, a limit of the server, or a trigger. */
export class RefusedDataError extends SchedulerError {
  /** A row with the same key exists already. PostgreSQL would refuse other data under this key too. */
  readonly keyExists: boolean;

  constructor(cause: unknown, keyExists = false) {
    super('refused_data', `PostgreSQL refused the data: ${messageOf(cause)}`, { cause });
    this.keyExists = keyExists;
  }
}

/** The bound that a new queue would exceed: the number of all queues, or of the queues that one client created. */
export type QueueBound = 'total' | 'client';

/** A queue does not exist and cannot be created, because the allowed number of queues exists already. */
export class QueuesExceededError extends SchedulerError {
  readonly queue: string;
  readonly bound: QueueBound;

  constructor(queue: string, bound: QueueBound) {
    super('queues_exceeded', `the queue ${JSON.stringify(queue)} would exceed the limit of queues`);
    this.queue = queue;
    this.bound = bound;
  }
}

/** Tasks were not stored because these queues have been deleted. The same call with `NewQueues` creates them again. */
export class QueuesMissingError extends SchedulerError {
  readonly queues: readonly string[];

  constructor(queues: readonly string[]) {
    super('queues_missing', `${queues.length} queues have been deleted meanwhile`, { retryable: true });
    this.queues = queues;
  }
}

/** What a thrown error asks for: end the task as FAILED at once, or try again while retries are left. */
export type FailureKind = 'final' | 'retryable';

/**
 * The property on an error's prototype that holds its kind. The symbol is in the global registry, so that every copy
 * of this module uses the same one: a handlers module may bring its own copy, of another version.
 */
const FAILURE_KIND = Symbol.for('scheduler.failureKind');

/** A handler throws this error to ask for a retry, optionally not before some time. */
export class RetryableError extends SchedulerError {
  static {
    Object.defineProperty(this.prototype, FAILURE_KIND, { value: 'retryable' satisfies FailureKind });
  }

  /** The next attempt does not start before this many milliseconds. If the backoff is longer, the backoff counts. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { code?: string; cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super(options.code ?? 'retryable', message, { retryable: true, cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A handler throws this error to end the task as FAILED at once, even if retries are left. */
export class FinalError extends SchedulerError {
  static {
    Object.defineProperty(this.prototype, FAILURE_KIND, { value: 'final' satisfies FailureKind });
  }

  constructor(message: string, options: { code?: string; cause?: unknown } = {}) {
    super(options.code ?? 'final', message, { cause: options.cause });
  }
}

const KIND_OF_NAME: ReadonlyMap<unknown, FailureKind> = new Map([
  ['FinalError', 'final'],
  ['RetryableError', 'retryable'],
]);

/** Stop after this many prototypes: only a hostile object has a longer chain. */
const PROTOTYPES_MAX = 64;

/**
 * Returns the kind of a thrown error. The error's own `name` decides first; then the nearest class in its prototype
 * chain that has the marker or a known name. So a subclass counts as the class that it extends, even if that class
 * comes from another copy of this module. Returns null if nothing names a kind. Never throws.
 */
export function failureKindOf(thrown: unknown): FailureKind | null {
  try {
    if (!Error.isError(thrown)) return null;
    const named = KIND_OF_NAME.get(thrown.name);
    if (named !== undefined) return named;
    let link: unknown = Object.getPrototypeOf(thrown);
    for (let i = 0; i < PROTOTYPES_MAX && typeof link === 'object' && link !== null; i++) {
      const kind = kindOfPrototype(link);
      if (kind !== null) return kind;
      link = Object.getPrototypeOf(link);
    }
    return null;
  } catch {
    // A hostile getter or proxy threw. Its error must not escape from here.
    return null;
  }
}

function kindOfPrototype(prototype: object): FailureKind | null {
  const marker: unknown = Object.getOwnPropertyDescriptor(prototype, FAILURE_KIND)?.value;
  if (marker === 'final' || marker === 'retryable') return marker;
  const type: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  return typeof type === 'function' ? (KIND_OF_NAME.get(type.name) ?? null) : null;
}

/** The reason why a handler's signal fired. */
export type AbortCode = 'timed_out' | 'cancelled' | 'ownership_lost' | 'shutting_down';

/** The `reason` of a handler's AbortSignal. */
export class AttemptAbortedError extends SchedulerError {
  declare readonly code: AbortCode;

  constructor(code: AbortCode, message: string) {
    super(code, message);
  }
}

/** Cuts a text to a length and replaces what PostgreSQL's text type refuses: NUL and lone surrogates. */
export function storableText(text: string, limit: number): string {
  // Cut first, so that cleaning is cheap even for a very long text.
  const kept = text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
  return kept.replaceAll('\0', '\u{FFFD}').toWellFormed();
}

/** Returns the message of a thrown value. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    return Error.isError(thrown) ? String(thrown.message) : describe(thrown);
  } catch {
    // A hostile getter or proxy threw. Its error must not escape from here.
    return 'the thrown value could not be read';
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
