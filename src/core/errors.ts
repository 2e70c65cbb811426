/**
 * The root of all errors that this project throws on purpose.
 * `code` is stable and documented; `retryable` says whether the same call may
 * succeed later without a change on the caller's side.
 */
export class SchedulerError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  /** Of a process that ends because of it. */
  readonly exitCode: number = 1;

  constructor(code: string, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** PostgreSQL or Redis did not answer, or not in time; nothing is known to be wrong with the request. */
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

/** Redis answered: it does not let this user in, or not do what was asked. Waiting does not mend it; whoever sets Redis up has to. */
export class StoreRefusedError extends StoreUnavailableError {
  constructor(cause: unknown) {
    super('redis', cause);
  }
}

/**
 * PostgreSQL answers, and had ended a statement: at its time limit, because a lock did not come free in time, because this
 * process left its transaction idle for too long, or because somebody had it cancelled. Nothing of it happened.
 */
export class StatementTimedOutError extends StoreUnavailableError {
  /** The name of its `.sql` file, or of the read. */
  readonly statement: string;
  /** What it waited for was a lock: the same without what is locked may succeed. */
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

/** All connections of this process's own pool were in use for too long. PostgreSQL was asked nothing. */
export class PoolExhaustedError extends StoreUnavailableError {
  constructor(cause: unknown) {
    super('postgresql', cause, {
      code: 'pool_exhausted',
      message: 'no connection of the own pool came free in time',
    });
  }
}

/** The store refused a row for what is in it: a value, a constraint, a limit of the server, or what a trigger says. */
export class RefusedDataError extends SchedulerError {
  constructor(cause: unknown) {
    super('refused_data', `PostgreSQL refused the data: ${messageOf(cause)}`, { cause });
  }
}

/** Which bound a new queue would exceed: that of all queues, or that of those one client may bring into being. */
export type QueueBound = 'total' | 'client';

/** A queue does not exist, and as many as are allowed do. */
export class QueuesExceededError extends SchedulerError {
  readonly queue: string;
  readonly bound: QueueBound;

  constructor(queue: string, bound: QueueBound) {
    super('queues_exceeded', `the queue ${JSON.stringify(queue)} would be one too many`);
    this.queue = queue;
    this.bound = bound;
  }
}

/** Tasks were not stored, since these queues have been deleted. The same with `NewQueues` makes them again. */
export class QueuesMissingError extends SchedulerError {
  readonly queues: readonly string[];

  constructor(queues: readonly string[]) {
    super('queues_missing', `${queues.length} queues have been deleted meanwhile`, { retryable: true });
    this.queues = queues;
  }
}

/** What a thrown error asks for: to end its task as FAILED at once, or to be tried again while retries are left. */
export type FailureKind = 'final' | 'retryable';

/**
 * The name of the property on an error's prototype that says its kind. It is registered, so that every copy of this
 * module has the same one: a handlers module may bring its own copy, of another version.
 */
const FAILURE_KIND = Symbol.for('scheduler.failureKind');

/** A handler throws it to be tried again, optionally not before some time. */
export class RetryableError extends SchedulerError {
  static {
    Object.defineProperty(this.prototype, FAILURE_KIND, { value: 'retryable' satisfies FailureKind });
  }

  /** Milliseconds before which the next attempt does not start; a longer backoff counts instead. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { code?: string; cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super(options.code ?? 'retryable', message, { retryable: true, cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A handler throws it to end the task as FAILED without using up its retries. */
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

/** A longer chain of prototypes is a hostile one. */
const PROTOTYPES_MAX = 64;

/**
 * The kind of a thrown error: what its own `name` says, else the nearest class of its prototype chain that says one,
 * by the marker or by its name. So a subclass counts as what it extends, also where the class is not ours.
 * Null for anything that says nothing. Never throws.
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
    // A hostile getter or proxy: its failure must not become ours.
    return null;
  }
}

function kindOfPrototype(prototype: object): FailureKind | null {
  const marker: unknown = Object.getOwnPropertyDescriptor(prototype, FAILURE_KIND)?.value;
  if (marker === 'final' || marker === 'retryable') return marker;
  const type: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  return typeof type === 'function' ? (KIND_OF_NAME.get(type.name) ?? null) : null;
}

/** Why a handler's signal fired. */
export type AbortCode = 'timed_out' | 'cancelled' | 'ownership_lost' | 'shutting_down';

/** The `reason` of a handler's AbortSignal. */
export class AttemptAbortedError extends SchedulerError {
  declare readonly code: AbortCode;

  constructor(code: AbortCode, message: string) {
    super(code, message);
  }
}

/** A text without what PostgreSQL's text type refuses (NUL, lone surrogates), cut to a length. */
export function storableText(text: string, limit: number): string {
  // Cut first: what is thrown away need not be cleaned, however long it is.
  const kept = text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
  return kept.replaceAll('\0', '\u{FFFD}').toWellFormed();
}

/** What a thrown value says. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    return Error.isError(thrown) ? String(thrown.message) : describe(thrown);
  } catch {
    // A hostile getter or proxy: its failure must not become ours.
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
