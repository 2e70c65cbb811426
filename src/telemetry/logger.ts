import { pino, stdSerializers, symbols, type DestinationStream, type Logger } from 'pino';
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
      serializers: { err: serializeError },
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

/** The messages of an error and of what caused it, but those that one before has already: most of ours quote their cause. */
function messageWithCauses(error: Error): string {
  // A handler may log anything that calls itself an error.
  let text = String(error.message);
  const seen = new Set<unknown>([error]);
  for (let { cause } = error; Error.isError(cause) && !seen.has(cause); { cause } = cause) {
    seen.add(cause);
    const message = String(cause.message);
    if (!text.includes(message)) text += `: ${message}`;
  }
  return text;
}

/** Properties of an error that say what it is about and hold nobody's data. */
const SHOWN = ['code', 'errno', 'syscall', 'address', 'port', 'severity', 'schema', 'table', 'constraint', 'retryable'];

/**
 * Only what is known to be harmless: drivers hang on their errors what they were
 * told to do (ioredis the AUTH command with its password, pg the refused row).
 */
function serializeError(thrown: unknown): unknown {
  if (!Error.isError(thrown)) return thrown;
  const { type, stack } = stdSerializers.err(thrown);
  const properties = thrown as unknown as Record<string, unknown>;
  const shown = SHOWN.filter((name) => ['string', 'number', 'boolean'].includes(typeof properties[name]));
  const { errors, lastNodeError } = properties;
  return {
    type,
    message: messageWithCauses(thrown),
    stack,
    ...Object.fromEntries(shown.map((name) => [name, properties[name]])),
    ...(Array.isArray(errors) ? { errors: errors.map(serializeError) } : {}),
    ...(lastNodeError === undefined ? {} : { lastNodeError: serializeError(lastNodeError) }),
  };
}
