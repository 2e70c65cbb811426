/** The trace that a request, its task and every log line about the task share. */
export interface Trace {
  /** 1 to 64 characters of `A-Z a-z 0-9 . _ -`. */
  readonly traceId: string;
  /** W3C Trace Context, level 1. Null if the id came from `X-Trace-ID` without a valid `traceparent`. */
  readonly traceparent: string | null;
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const TRACE_ID = /^[A-Za-z0-9._-]{1,64}$/;
const ZEROS = /^0+$/;

/**
 * Takes the trace from a request's headers: from `X-Trace-ID`, or otherwise from
 * `traceparent`. Without a valid header it begins a new trace. Malformed headers
 * are ignored, as W3C Trace Context requires.
 */
export function traceOf(
  headers: { readonly traceId?: string | undefined; readonly traceparent?: string | undefined },
  randomHex: (bytes: number) => string,
): Trace {
  const parent = TRACEPARENT.exec(headers.traceparent ?? '');
  const valid = parent !== null && !ZEROS.test(parent[1] as string) && !ZEROS.test(parent[2] as string);
  const traceparent = valid ? (headers.traceparent as string) : null;
  if (headers.traceId !== undefined && TRACE_ID.test(headers.traceId)) return { traceId: headers.traceId, traceparent };
  if (valid) return { traceId: parent[1] as string, traceparent };
  const traceId = randomHex(16);
  return { traceId, traceparent: `00-${traceId}-${randomHex(8)}-01` };
}
