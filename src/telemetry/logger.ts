import { pino, symbols, type DestinationStream, type Logger } from 'pino';
import { storableText } from '../core/errors.ts';
import { createStandardOutput, type BatchingDestination } from './standard-output.ts';

export type { Logger };

/**
 * JSON lines on standard output, written synchronously unless `stream` does otherwise: a line
 * that explains a crash must be out before the process is.
 */
export function createLogger(
  level: string,
  base: Record<string, string>,
  stream: DestinationStream = createStandardOutput(),
): Logger {
  return pino(
    {
      level,
      base,
      timestamp: isoTimeOfLine(),
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (thrown: unknown) => serializeError(thrown) },
      redact: { paths: ['payload', '*.payload', 'headers', '*.headers'], censor: '(redacted)' },
    },
    stream,
  );
}

/** Lines of the same millisecond, as the outcomes of a batch are, share its text. */
function isoTimeOfLine(): () => string {
  let textMs = Number.NaN;
  let text = '';
  return () => {
    const ms = Date.now();
    if (ms !== textMs) {
      textMs = ms;
      text = `,"time":"${new Date(ms).toISOString()}"`;
    }
    return text;
  };
}

/**
 * For lines whose fields are all named by us and hold nobody's data: looking
 * through each of them for something to redact costs more than writing it.
 */
export function withoutRedaction(log: Logger): Logger {
  return log.child({}, { redact: [] });
}

/** Writes what `body` logs with few system calls, before it returns. */
export function logTogether(log: Logger, body: () => void): void {
  const stream = (log as Logger & { [symbols.streamSym]?: Partial<BatchingDestination> })[symbols.streamSym];
  if (stream?.together === undefined) body();
  else stream.together(body);
}

/** Errors of which one line tells, all together: causes of causes and parts of parts have no end of their own. */
const ERRORS_MAX = 16;
const MESSAGE_LIMIT = 8_000;
const STACK_LIMIT = 8_000;

/**
 * The messages of an error and of what caused it, but those that one before has already: most of ours quote their
 * cause. The parts of a cause are told too, and those of an error that has no message of its own.
 */
function messageWithCauses(error: Error): string {
  // A handler may log anything that calls itself an error.
  let text = storableText(String(error.message), MESSAGE_LIMIT);
  const seen = new Set<unknown>([error]);
  const visit = (inside: { readonly cause?: unknown; readonly errors?: unknown }, withParts: boolean): void => {
    const { cause, errors } = inside;
    const parts = withParts && Array.isArray(errors) ? errors.slice(0, ERRORS_MAX) : [];
    for (const inner of [cause, ...parts]) {
      if (!Error.isError(inner) || seen.has(inner) || seen.size > ERRORS_MAX || text.length >= MESSAGE_LIMIT) continue;
      seen.add(inner);
      const message = String(inner.message);
      if (!text.includes(message)) text += text === '' ? message : `: ${message}`;
      visit(inner, true);
    }
  };
  visit(error, text === '');
  return storableText(text, MESSAGE_LIMIT);
}

function stackWithCauses(error: Error): string {
  let text = String(error.stack);
  const seen = new Set<unknown>([error]);
  for (
    let { cause } = error;
    Error.isError(cause) && !seen.has(cause) && text.length < STACK_LIMIT;
    { cause } = cause
  ) {
    seen.add(cause);
    text += `\ncaused by: ${String(cause.stack)}`;
  }
  return storableText(text, STACK_LIMIT);
}

/** Parts of an error that have entries of their own in its line, and parts of those. */
const PARTS_MAX = 5;
const PARTS_DEPTH_MAX = 2;

/** Properties of an error that say what it is about and hold nobody's data. */
const SHOWN = ['code', 'errno', 'syscall', 'address', 'port', 'severity', 'schema', 'table', 'constraint', 'retryable'];

/**
 * Only what is known to be harmless: drivers hang on their errors what they were
 * told to do (ioredis the AUTH command with its password, pg the refused row).
 */
function serializeError(thrown: unknown, depth = 0): unknown {
  if (!Error.isError(thrown)) return thrown;
  const properties = thrown as unknown as Record<string, unknown>;
  const shown = SHOWN.filter((name) => ['string', 'number', 'boolean'].includes(typeof properties[name]));
  const { errors, lastNodeError } = properties;
  const goesOn = depth < PARTS_DEPTH_MAX;
  return {
    type: String(thrown.constructor?.name ?? thrown.name),
    message: messageWithCauses(thrown),
    stack: stackWithCauses(thrown),
    ...Object.fromEntries(shown.map((name) => [name, properties[name]])),
    ...(goesOn && Array.isArray(errors)
      ? { errors: errors.slice(0, PARTS_MAX).map((part) => serializeError(part, depth + 1)) }
      : {}),
    ...(goesOn && lastNodeError !== undefined ? { lastNodeError: serializeError(lastNodeError, depth + 1) } : {}),
  };
}
