import { messageOf, storableText } from './errors.ts';

/** An error in the form in which `execution_logs.error` and `dlq.errors` store it. */
export interface RecordedError {
  readonly name: string;
  readonly message: string;
  /** The error's own code, such as `ECONNREFUSED`, or a number. */
  readonly code?: string | number;
  readonly stack?: string;
  /** The cause of the error. It is left out when the limits of the record are reached. */
  readonly cause?: RecordedError;
  /** The parts of an AggregateError, as many as the limits of the record allow. */
  readonly errors?: readonly RecordedError[];
}

interface Limits {
  readonly message: number;
  readonly stack: number;
}

const NAME_LIMIT = 100;
const OUTER: Limits = { message: 4_000, stack: 4_000 };
/** Limits of a cause or part: enough for its message and the place where it was thrown. */
const INNER: Limits = { message: 1_000, stack: 500 };

/** Maximum number of causes and parts of one error, counted together, and the deepest level of nesting. */
const INNER_MAX = 8;
const DEPTH_MAX = 5;

/** The errors that one record contains so far. */
interface Taken {
  readonly errors: Set<unknown>;
  inner: number;
}

/** Turns any thrown value, with its causes, into a record that PostgreSQL can store. Never throws. */
export function recordError(thrown: unknown): RecordedError {
  return record(thrown, OUTER, { errors: new Set([thrown]), inner: 0 }, 0);
}

/** Returns the code of an error, or of the first cause or part that has one. Returns undefined if none has a code. */
export function codeIn(error: RecordedError): string | number | undefined {
  if (error.code !== undefined) return error.code;
  for (const inner of innerOf(error)) {
    const code = codeIn(inner);
    if (code !== undefined) return code;
  }
  return undefined;
}

function innerOf({ cause, errors = [] }: RecordedError): readonly RecordedError[] {
  return cause === undefined ? errors : [cause, ...errors];
}

function record(thrown: unknown, limits: Limits, taken: Taken, depth: number): RecordedError {
  try {
    if (!Error.isError(thrown)) {
      const message = storableText(`thrown value is not an Error: ${messageOf(thrown)}`, limits.message);
      return { name: 'NonError', message };
    }
    const { code } = thrown as { readonly code?: unknown };
    const own = {
      name: storableText(String(thrown.name), NAME_LIMIT),
      message: storableText(String(thrown.message), limits.message),
      ...(typeof code === 'string' ? { code: storableText(code, NAME_LIMIT) } : {}),
      ...(typeof code === 'number' && Number.isFinite(code) ? { code } : {}),
      ...(typeof thrown.stack === 'string' ? { stack: storableText(thrown.stack, limits.stack) } : {}),
    };
    return { ...own, ...recordInner(thrown, taken, depth) };
  } catch {
    // A hostile getter or proxy threw. Its error must not escape from here.
    return { name: 'UnreadableError', message: 'the thrown value could not be read' };
  }
}

function recordInner(error: Error, taken: Taken, depth: number): Pick<RecordedError, 'cause' | 'errors'> {
  if (depth === DEPTH_MAX) return {};
  const { cause, errors } = error as { readonly cause?: unknown; readonly errors?: unknown };
  const [recordedCause] = cause == null ? [] : recordEach([cause], taken, depth);
  const parts = Array.isArray(errors) ? recordEach(errors, taken, depth) : [];
  return {
    ...(recordedCause === undefined ? {} : { cause: recordedCause }),
    ...(parts.length === 0 ? {} : { errors: parts }),
  };
}

/** Leaves out errors that are recorded already, because an error may be its own cause. */
function recordEach(thrown: readonly unknown[], taken: Taken, depth: number): RecordedError[] {
  const recorded: RecordedError[] = [];
  for (let i = 0; i < thrown.length && taken.inner < INNER_MAX; i++) {
    const one = thrown[i];
    if (Error.isError(one) && taken.errors.has(one)) continue;
    taken.errors.add(one);
    taken.inner++;
    recorded.push(record(one, INNER, taken, depth + 1));
  }
  return recorded;
}
