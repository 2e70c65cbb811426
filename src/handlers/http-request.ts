import type { BlockList } from 'node:net';
import { HTTP_CONNECT_TIMEOUT_MS, HTTP_RETRY_AFTER_MAX_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { FinalError, RetryableError, SchedulerError, messageOf } from '../core/errors.ts';
import { withResult } from '../engine/attempts/attempt-result.ts';
import type { Handler, HandlerContext } from '../engine/attempts/handler.ts';
import { createHttpClient } from './http-client.ts';
import { readHttpPayload, type HttpRequest } from './http-payload.ts';
import { readResponse, retryAfterMs, type KeptResponse } from './http-response.ts';

export interface HttpRequestOptions {
  /** Addresses to which the handler never connects, see `refusedAddresses`. */
  readonly refused: BlockList;
  /** Maximum number of bytes of a response's body that are downloaded and kept. */
  readonly responseMaxBytes: number;
  readonly clock?: Pick<Clock, 'nowMs'>;
  readonly connectTimeoutMs?: number;
  /** Certificates to trust instead of Node's, in PEM. */
  readonly ca?: string;
}

export interface HttpRequestHandler {
  readonly handle: Handler;
  /** Closes every connection, so that requests in progress fail. Idempotent. */
  close(): Promise<void>;
}

/**
 * The handler `http.request`: sends one request and keeps the beginning of its
 * response as the attempt's result. 2xx completes the task; redirects are not followed.
 * @throws FinalError `invalid_payload`, `address_refused`, `http_status_<3xx or 4xx>`
 * @throws RetryableError `http_status_<408, 429 or 5xx>`, `http_timed_out`, `http_unreachable`
 * @throws the signal's reason when it fires
 */
export function createHttpRequest(options: HttpRequestOptions): HttpRequestHandler {
  const { refused, responseMaxBytes, clock = systemClock, connectTimeoutMs = HTTP_CONNECT_TIMEOUT_MS, ca } = options;
  const client = createHttpClient({ refused, connectTimeoutMs, ca });

  const exchange = async (wanted: HttpRequest, context: HandlerContext, signal: AbortSignal): Promise<KeptResponse> => {
    const response = await client.send(wanted, toldHeaders(context), signal);
    const { kept, broken } = await readResponse(response, responseMaxBytes);
    context.signal.throwIfAborted();
    const success = kept.status >= 200 && kept.status < 300;
    if (success && broken !== undefined) throw broken;
    if (success) return kept;
    throw withResult(
      statusError(wanted, kept.status, retryAfterMs(response, clock.nowMs(), HTTP_RETRY_AFTER_MAX_MS)),
      kept,
    );
  };

  return {
    async handle(context) {
      const wanted = readHttpPayload(context.payload);
      context.signal.throwIfAborted();
      const limit = createLimit(wanted);
      try {
        return await exchange(wanted, context, AbortSignal.any([context.signal, limit.signal]));
      } catch (error) {
        // Once a signal has fired, any other error is only a consequence of it.
        if (context.signal.aborted) throw context.signal.reason;
        if (error instanceof SchedulerError) throw error;
        throw limit.signal.aborted ? limit.signal.reason : connectionError(wanted, error);
      } finally {
        limit.clear();
      }
    },
    async close() {
      client.close();
    },
  };
}

/** Creates the signal for the time limit of the payload. Without such a limit, only the attempt's own signal fires. */
function createLimit(wanted: HttpRequest): { readonly signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const { timeoutMs } = wanted;
  const timer =
    timeoutMs === null ? undefined : setTimeout(() => controller.abort(timedOut(wanted, timeoutMs)), timeoutMs);
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

/** Returns the headers about the attempt that every target gets. The payload cannot set them. */
function toldHeaders({ task, attemptToken }: HandlerContext): Record<string, string> {
  return {
    'X-Task-Attempt-Token': attemptToken,
    'X-Trace-ID': task.traceId,
    ...(task.traceparent === null ? {} : { traceparent: task.traceparent }),
  };
}

/** Returns only method and origin, because path and query may hold secrets. User and password are removed already. */
function nameOf({ method, url }: HttpRequest): string {
  return `${method} ${url.origin}`;
}

function statusError(wanted: HttpRequest, status: number, retryAfter: number | undefined): FinalError | RetryableError {
  const code = `http_status_${status}`;
  const message = `${nameOf(wanted)} answered ${status}`;
  if (status === 408 || status === 429 || status >= 500)
    return new RetryableError(message, { code, retryAfterMs: retryAfter });
  return new FinalError(status < 400 ? `${message}; redirects are not followed` : message, { code });
}

function timedOut(wanted: HttpRequest, timeoutMs: number): RetryableError {
  return new RetryableError(`${nameOf(wanted)} took longer than ${timeoutMs / 1_000} s`, {
    code: 'http_timed_out',
  });
}

/** Creates an error without a cause. The error for a malformed response contains its bytes, which must not be logged. */
function connectionError(wanted: HttpRequest, error: unknown): FinalError | RetryableError {
  const failures = error instanceof AggregateError ? error.errors : [error];
  if (failures.every((failure) => codeOf(failure) === 'ERR_IP_BLOCKED')) {
    const message = `${nameOf(wanted)} was refused: its address is private, loopback, link-local or otherwise not public; HTTP_ALLOWED_NETWORKS allows networks`;
    return new FinalError(message, { code: 'address_refused' });
  }
  const code = /TIMEOUT|TIMEDOUT/.test(codeOf(error)) ? 'http_timed_out' : 'http_unreachable';
  return new RetryableError(`${nameOf(wanted)} failed: ${failures.map(messageOf).join('; ')}`, { code });
}

function codeOf(error: unknown): string {
  return Error.isError(error) && 'code' in error ? String(error.code) : '';
}
