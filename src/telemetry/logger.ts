import { pino, symbols, type DestinationStream, type Logger } from 'pino';
import { withoutSecrets } from '../core/access/secret.ts';
import { storableText } from '../core/errors.ts';
import { createStandardOutput, type BatchingDestination } from './standard-output.ts';

export type { Logger };

/**
 * Writes JSON lines to standard output, synchronously unless `stream` does otherwise: a line
 * that explains a crash must be written before the process ends.
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
      // Whatever a line contains, also in the text of an error: secrets of clients are never written.
      hooks: { streamWrite: withoutSecrets },
    },
    stream,
  );
}

/** Returns the time for a line. Lines of the same millisecond, such as the outcomes of a batch, reuse its text. */
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
 * Returns a logger without redaction, for lines with only our own fields and no
 * user data: searching a line for fields to redact costs more than writing it.
 */
export function withoutRedaction(log: Logger): Logger {
  return log.child({}, { redact: [] });
}

/** Writes the lines that `body` logs with few system calls, before this function returns. */
export function logTogether(log: Logger, body: () => void): void {
  const stream = (log as Logger & { [symbols.streamSym]?: Partial<BatchingDestination> })[symbols.streamSym];
  if (stream?.together === undefined) body();
  else stream.together(body);
}

/** Maximum number of errors in one line, including all causes and parts: their nesting has no limit otherwise. */
const ERRORS_MAX = 16;
const MESSAGE_LIMIT = 8_000;
const STACK_LIMIT = 8_000;

/**
 * Joins the messages of an error and its causes. A message that the text already contains is left out, because most of
 * our errors quote their cause. The parts of a cause are included too, and the parts of an error without a message.
 */
function messageWithCauses(error: Error): string {
  // A handler may log an error whose message is not a string.
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

/** Maximum number of parts of an error that get their own entries in its line, and the deepest nesting of parts. */
const PARTS_MAX = 5;
const PARTS_DEPTH_MAX = 2;

/** Properties that describe an error and hold no user data. */
const SHOWN = ['code', 'errno', 'syscall', 'address', 'port', 'severity', 'schema', 'table', 'constraint', 'retryable'];

/**
 * Writes only properties that are known to be harmless. Drivers add the command or
 * row to their errors (ioredis the AUTH command with its password, pg the refused row).
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
