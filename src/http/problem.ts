import { SchedulerError } from '../core/errors.ts';
import type { FieldError } from '../json/field-error.ts';

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** Explains the problem and what the client can do, in Markdown. */
  readonly meaning: string;
}

/**
 * All problems by their `code`. The codes are part of the interface, because clients branch on them. `/docs/errors` and
 * `docs/errors.md` show this table.
 */
export const PROBLEMS = {
  malformed_json: {
    status: 400,
    title: 'The body is not JSON',
    meaning: 'The body has to be JSON in UTF-8; `detail` gives the position of the error.',
  },
  body_required: { status: 400, title: 'The body is missing', meaning: 'This route needs a JSON body.' },
  body_incomplete: {
    status: 400,
    title: 'The body ended early',
    meaning: 'The connection closed before the whole body had arrived, or the body does not match its headers.',
  },
  malformed_request: {
    status: 400,
    title: 'This is not HTTP',
    meaning: 'The request does not follow HTTP/1.1 and could not be read.',
  },
  unauthenticated: {
    status: 401,
    title: 'The request does not say who sends it',
    meaning:
      'Send the secret of a client: `Authorization: Bearer sch_…`. It is missing, wrong, or has been revoked. `scheduler clients create` makes a client and its secret.',
  },
  secret_expired: {
    status: 401,
    title: 'The secret has expired',
    meaning:
      'The secret was right, but its time is over, because another secret has replaced it or because its client has expired. `detail` says which.',
  },
  session_ended: {
    status: 401,
    title: 'The session has ended',
    meaning:
      'The cookie of the request belongs to no session that is valid. Its time is over, somebody has ended it, or the secret or the grant with which it was opened is no longer there. Log in again: with `POST /session`, or at `/login`.',
  },
  login_failed: {
    status: 400,
    title: 'The login did not succeed',
    meaning:
      'A login with the provider ends in the browser that began it, within ten minutes, and only once. `detail` says what is missing. Nobody was logged in. Begin again at `/login`.',
  },
  no_grant: {
    status: 403,
    title: 'The account has no access',
    meaning:
      'The provider knows the person, but none of the values of `OIDC_GRANTS_CLAIM` is in `OIDC_GRANTS`. Whoever runs the service decides about it.',
  },
  identity_incomplete: {
    status: 403,
    title: 'The provider does not say enough about the account',
    meaning:
      'A claim that the settings ask for (`OIDC_NAME_CLAIM`, `OIDC_GRANTS_CLAIM`) is missing or cannot be used, or the address is not verified. `detail` says which. Whoever runs the service has to change the settings or the provider.',
  },
  missing_scope: {
    status: 403,
    title: 'The client may not do this',
    meaning:
      'The client lacks the scope that `detail` names. The route needs it, or a part of the request does: a filter by what the client may not see, for example. Nothing was changed.',
  },
  queue_not_allowed: {
    status: 403,
    title: 'The client may not use this queue',
    meaning:
      'No pattern of the client matches the queue that the request names, whether or not the queue exists. Nothing was stored or changed. In a batch, `errors` names each such task.',
  },
  action_not_allowed: {
    status: 403,
    title: 'The client may not submit this action',
    meaning:
      'No pattern of the client matches the action of the task. A task that names no action has the action `simulate`. `http.request` and `kubernetes.job` have to be granted by their names. Nothing was stored.',
  },
  cross_site: {
    status: 403,
    title: 'A page of another site has sent this request',
    meaning:
      'A browser has sent this request for a page of another site (`Sec-Fetch-Site`, `Origin`). Only pages of this server may send requests that can have an effect. Programs send neither header, but with a session, and to open one, a request must have one of them.',
  },
  unknown_host: {
    status: 421,
    title: 'This server does not have this name',
    meaning:
      'While the API asks nobody for a key (`AUTH=open`), and in requests with a session, the `Host` must be an address, `localhost`, a name in `ALLOWED_HOSTS` or the host of `PUBLIC_URL`. Otherwise a page could reach this server under a name of its own.',
  },
  not_found: { status: 404, title: 'No route has this path', meaning: 'The path of the request is unknown.' },
  task_not_found: {
    status: 404,
    title: 'There is no such task',
    meaning:
      'No task has this id. It never existed, it was deleted when its retention was over, or it belongs to a queue that the client may not use.',
  },
  queue_not_found: {
    status: 404,
    title: 'There is no such queue',
    meaning: 'No task has been submitted to a queue of this name yet, or the queue has been deleted.',
  },
  client_not_found: {
    status: 404,
    title: 'There is no such client',
    meaning: 'No client has this name, or it has been revoked and cannot be changed any more.',
  },
  secret_not_found: {
    status: 404,
    title: 'The client has no such secret',
    meaning: 'The client has no secret with this public id, or the secret has been revoked.',
  },
  session_not_found: {
    status: 404,
    title: 'There is no such session',
    meaning: 'No session has this id: it has ended, or there never was one.',
  },
  dead_letter_not_found: {
    status: 404,
    title: 'There is no such dead letter',
    meaning:
      'The task has not failed, does not exist, was deleted when its retention was over, or belongs to a queue that the client may not use.',
  },
  method_not_allowed: {
    status: 405,
    title: 'This method is not allowed here',
    meaning: 'The `Allow` header names the allowed methods.',
  },
  request_timed_out: {
    status: 408,
    title: 'The request took too long to arrive',
    meaning: 'The headers and the body have to arrive within one minute. Nothing was stored.',
  },
  idempotency_key_reused: {
    status: 409,
    title: 'The key was used for another request',
    meaning:
      'The `Idempotency-Key` belongs to a request with different content. Nothing was stored. Use a new key for a new task.',
  },
  client_exists: {
    status: 409,
    title: 'The name is taken',
    meaning:
      'Another client has this name, or had it before it was revoked: names are not used again. Choose another name; a client whose secret was lost gets a new one by a rotation.',
  },
  client_in_files: {
    status: 409,
    title: 'The client is kept in files',
    meaning:
      'Whoever runs the service keeps this client in the files of `CLIENTS_DIR`, and changes it there. Nothing was changed.',
  },
  too_many_secrets: {
    status: 409,
    title: 'The client has two secrets already',
    meaning:
      'Two secrets of a client may be valid at the same time. Revoke one of them, or rotate with an `overlap` of 0, which ends both. Nothing was changed.',
  },
  nobody_logs_in: {
    status: 409,
    title: 'Nobody has to log in',
    meaning: 'The API is open (`AUTH=open`): it asks nobody who they are, so there are no sessions.',
  },
  queue_in_use: {
    status: 409,
    title: 'The queue cannot be deleted',
    meaning:
      'A queue can be deleted only if it has no tasks and no dead letters and is not paused. The default queue cannot be deleted. `detail` gives the reason. Nothing was changed.',
  },
  not_cancellable: {
    status: 409,
    title: 'The task cannot be cancelled',
    meaning: 'The task has already ended; `detail` gives its status.',
  },
  not_requeueable: {
    status: 409,
    title: 'The task cannot be requeued',
    meaning: 'The task has never failed; `detail` gives its status.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    meaning:
      'The body of one task may have `PAYLOAD_MAX_BYTES` plus 64 KiB, and a batch `BATCH_MAX_BYTES`. A task without its payload, and a batch without its tasks, may each have 256 KiB. No body may be longer than a quarter of `IN_FLIGHT_MAX_BYTES`.',
  },
  invalid_cursor: {
    status: 409,
    title: 'The cursor does not belong to this request',
    meaning:
      'A `next_cursor` continues only the request whose answer it was in: the same route with the same filter, and for a requeue the same `place`, `rate` and `dry_run`. Only `limit` may change. Nothing was changed. Start again without a cursor.',
  },
  payload_too_large: {
    status: 413,
    title: 'The payload is too large',
    meaning: 'A payload, measured as JSON in UTF-8 without white space, is longer than `PAYLOAD_MAX_BYTES`.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body is not declared as JSON',
    meaning: 'Send `Content-Type: application/json` in UTF-8, plain or compressed with gzip, deflate or br.',
  },
  invalid_request: {
    status: 422,
    title: 'The request is not valid',
    meaning: '`errors` names each wrong field, with the expected and the given value. Nothing was stored.',
  },
  queues_exceeded: {
    status: 422,
    title: 'There are too many queues',
    meaning:
      'The first task of a queue creates the queue. This request would exceed `QUEUES_MAX`, or the `QUEUES_MAX_PER_ADDRESS` queues that one client may create; `detail` says which. Delete an unused queue with `DELETE /queues/{name}`.',
  },
  refused_data: {
    status: 422,
    title: 'The database refused the data',
    meaning: 'PostgreSQL cannot store a value of this request. Nothing was stored.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many tasks in too short a time',
    meaning:
      'Repeat the request after the number of seconds in `Retry-After`. The `RateLimit-*` headers give the state of the limit.',
  },
  quota_exceeded: {
    status: 429,
    title: 'The client has too many unfinished tasks',
    meaning:
      'The client may have only so many tasks that have not ended; `detail` has the numbers. Nothing was stored. Repeat the request after `Retry-After` seconds, when some of the tasks may have ended.',
  },
  too_many_wrong_keys: {
    status: 429,
    title: 'Too many wrong keys came from this address',
    meaning:
      'An address may send 100 wrong keys per minute. Repeat the request after the number of seconds in `Retry-After`. Requests with a valid key are not affected.',
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are too large',
    meaning: 'The request line and all headers together may be at most 16 KiB long.',
  },
  internal_error: {
    status: 500,
    title: 'The service failed unexpectedly',
    meaning: 'This is a fault of the service. The log has the error, with this `trace_id`.',
  },
  overloaded: {
    status: 503,
    title: 'Too many requests are in progress',
    meaning:
      'The requests and answers in progress in this process use all the memory that is allowed for them (`IN_FLIGHT_MAX_BYTES`), and not enough became free within one second. Nothing was stored. Repeat the request after `Retry-After` seconds, or send or ask for less in one request.',
  },
  postgresql_unavailable: {
    status: 503,
    title: 'PostgreSQL does not answer',
    meaning:
      'PostgreSQL is not reachable, or it has not answered earlier requests and this one waited too long behind them. Repeat the request after `Retry-After` seconds. A submission may nevertheless have been stored; with an `Idempotency-Key`, repeating it cannot create a second task.',
  },
  pool_exhausted: {
    status: 503,
    title: 'All connections to PostgreSQL are in use',
    meaning:
      'No connection of this process became free within three seconds. Nothing was changed. Repeat the request after `Retry-After` seconds.',
  },
  statement_timed_out: {
    status: 503,
    title: 'PostgreSQL took too long',
    meaning:
      'A statement of this request took too long or waited too long for a lock, and was stopped. Nothing was changed. Repeat the request after `Retry-After` seconds, or ask for less: a narrower time range makes a search faster.',
  },
  provider_unavailable: {
    status: 503,
    title: 'The OpenID Connect provider does not answer',
    meaning:
      'A login needs the provider, and so does an access token whose key is not known, or was last read more than ten minutes ago. Sessions and secrets of clients do not. Repeat the request after `Retry-After` seconds.',
  },
  redis_unavailable: {
    status: 503,
    title: 'Redis does not answer',
    meaning: 'The answer to this request needs Redis. Repeat the request after `Retry-After` seconds.',
  },
} as const satisfies Readonly<Record<string, ProblemKind>>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface ProblemOptions {
  readonly errors?: readonly FieldError[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** An answer that reports a failure. Handlers throw it; the client gets it in the form of RFC 9457. */
export class Problem extends SchedulerError {
  declare readonly code: ProblemCode;
  readonly status: number;
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;

  /** @param detail what is wrong with this request */
  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    const { status } = PROBLEMS[code];
    super(code, detail, { cause: options.cause, retryable: status === 429 || status === 503 });
    this.status = status;
    this.errors = options.errors ?? [];
    this.headers = options.headers ?? {};
  }
}

/** The body of a problem answer (RFC 9457). */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  readonly trace_id: string;
  readonly errors?: readonly FieldError[];
}

export function problemDocument(problem: Problem, traceId: string): ProblemDocument {
  const { status, code, message, errors } = problem;
  return {
    type: `/docs/errors#${code}`,
    title: PROBLEMS[code].title,
    status,
    detail: message,
    code,
    trace_id: traceId,
    ...(errors.length > 0 ? { errors } : {}),
  };
}
