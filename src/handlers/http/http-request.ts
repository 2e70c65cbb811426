import type { BlockList } from 'node:net';
import { isHttpTarget, type HttpTarget } from '../../config/http-targets.ts';
import { HTTP_CONNECT_TIMEOUT_MS, HTTP_RETRY_AFTER_MAX_MS } from '../../config/timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { FinalError, RetryableError, SchedulerError, messageOf } from '../../core/errors.ts';
import { withResult } from '../../engine/attempts/attempt-result.ts';
import type { Handler, HandlerContext } from '../../engine/attempts/handler.ts';
import { createHttpClient } from './http-client.ts';
import { readHttpPayload, type HttpRequest } from './http-payload.ts';
import { readResponse, retryAfterMs, type KeptResponse } from './http-response.ts';
import type { HttpSecrets } from './http-secrets.ts';
import { signatureHeaders } from './http-signature.ts';

export interface HttpRequestOptions {
  /** Addresses to which the handler never connects, see `refusedAddresses`. */
  readonly refused: BlockList;
  /** Where requests may go. */
  readonly targets: readonly HttpTarget[];
  readonly secrets: HttpSecrets;
  /** Keys that sign each request; without one, requests are not signed. */
  readonly signingSecrets: readonly Buffer[];
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
 * The handler `http.request`: sends one request and keeps the beginning of its response as the attempt's result. 2xx
 * completes the task; redirects are not followed.
 * @throws FinalError `invalid_payload`, `target_refused`, `address_refused`, `secret_refused`,
 * `http_status_<3xx or 4xx>`
 * @throws RetryableError `http_status_<408, 429 or 5xx>`, `http_timed_out`, `http_unreachable`, `secret_unavailable`
 * @throws the signal's reason when it fires
 */
export function createHttpRequest(options: HttpRequestOptions): HttpRequestHandler {
  const { refused, targets, secrets, signingSecrets, responseMaxBytes, ca } = options;
  const { clock = systemClock, connectTimeoutMs = HTTP_CONNECT_TIMEOUT_MS } = options;
  const sign = ({ body }: HttpRequest, { task }: HandlerContext): Record<string, string> => {
    if (signingSecrets.length === 0) return {};
    const seconds = Math.floor(clock.nowMs() / 1_000);
    return signatureHeaders({ id: task.id, seconds, body: body ?? '' }, signingSecrets);
  };
  const client = createHttpClient({ refused, connectTimeoutMs, ca });

  const exchange = async (wanted: HttpRequest, context: HandlerContext, signal: AbortSignal): Promise<KeptResponse> => {
    const { headers, used } = await withSecrets(wanted, secrets);
    const signed = sign(wanted, context);
    const response = await client.send(wanted, { ...headers, ...toldHeaders(context), ...signed }, signal);
    const { kept: received, broken } = await readResponse(response, responseMaxBytes);
    const kept = withoutSecrets(received, used);
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
      refuseOtherTargets(wanted, targets);
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

function refuseOtherTargets(wanted: HttpRequest, targets: readonly HttpTarget[]): void {
  if (targets.some((target) => isHttpTarget(wanted.url, target))) return;
  throw new FinalError(`${nameOf(wanted)} was refused: HTTP_TARGETS does not name this server`, {
    code: 'target_refused',
  });
}

interface Used {
  readonly name: string;
  readonly value: string;
}

/** Puts the texts of secrets into the headers. Returns the secrets too, so that they can be kept out of the result. */
async function withSecrets(
  { headers, url }: HttpRequest,
  secrets: HttpSecrets,
): Promise<{ headers: Record<string, string>; used: Used[] }> {
  const used: Used[] = [];
  const texts = Object.entries(headers).map(async ([name, value]) => {
    if (typeof value === 'string') return [name, value] as const;
    const secret = await secrets.read(value, url);
    used.push({ name: value.secret, value: secret });
    return [name, (value.prefix ?? '') + secret] as const;
  });
  return { headers: Object.fromEntries(await Promise.all(texts)), used };
}

/** Shorter texts occur in responses by chance, and are no secrets. */
const SECRET_LENGTH_MIN = 8;

/**
 * Replaces secrets in the kept response. Some servers repeat the headers of a request in their answer. A kept text may
 * end in the middle of a secret, so the beginning of one at the end of a text is cut off too.
 */
function withoutSecrets(kept: KeptResponse, used: readonly Used[]): KeptResponse {
  // A secret may contain another one.
  const long = used
    .filter(({ value }) => value.length >= SECRET_LENGTH_MIN)
    .toSorted((one, other) => other.value.length - one.value.length);
  if (long.length === 0) return kept;
  const clean = (text: string): string => {
    const whole = long.reduce((left, { name, value }) => left.replaceAll(value, `[secret ${name}]`), text);
    return whole.slice(0, whole.length - Math.max(...long.map(({ value }) => begunAtEnd(whole, value))));
  };
  const headers = Object.entries(kept.headers).map(([name, value]) => [name, clean(value)] as const);
  return { ...kept, headers: Object.fromEntries(headers), body: kept.body === null ? null : clean(kept.body) };
}

/** Returns how many characters at the end of a text are the beginning of a secret; 0 if that may be chance. */
function begunAtEnd(text: string, secret: string): number {
  for (let length = secret.length - 1; length >= SECRET_BEGUN_MIN; length--) {
    if (text.endsWith(secret.slice(0, length))) return length;
  }
  return 0;
}

/** Fewer characters tell next to nothing of a secret. */
const SECRET_BEGUN_MIN = 4;

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

/**
 * Creates an error without a cause. The error for a malformed response contains its bytes, which must not be logged.
 */
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
