import { SchedulerError } from '../core/errors.ts';
import type { FieldError } from '../json/json-pointer.ts';

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** What it means and what the client can do, in Markdown. */
  readonly meaning: string;
}

/**
 * Every `code` of a problem. They are an interface: clients branch on them.
 * `/docs/errors` and `docs/errors.md` show this table.
 */
export const PROBLEMS = {
  malformed_json: {
    status: 400,
    title: 'The body is not JSON',
    meaning: 'JSON in UTF-8 is expected; `detail` shows where it goes wrong.',
  },
  body_required: { status: 400, title: 'The body is missing', meaning: 'This route needs a JSON body.' },
  body_incomplete: {
    status: 400,
    title: 'The body ended early',
    meaning: 'The connection broke before the whole body had arrived, or the body is not what its headers announce.',
  },
  malformed_request: {
    status: 400,
    title: 'This is not HTTP',
    meaning: 'The request breaks the rules of HTTP/1.1, so that nothing of it could be read.',
  },
  not_found: { status: 404, title: 'There is nothing here', meaning: 'No route has this path.' },
  task_not_found: {
    status: 404,
    title: 'There is no such task',
    meaning: 'No task has this id: it never existed, or its retention is over.',
  },
  queue_not_found: {
    status: 404,
    title: 'There is no such queue',
    meaning: 'Nothing has been submitted to a queue of this name yet, or it has been deleted since.',
  },
  dead_letter_not_found: {
    status: 404,
    title: 'There is no such dead letter',
    meaning: 'The task did not fail, does not exist, or its retention is over.',
  },
  method_not_allowed: {
    status: 405,
    title: 'This method is not allowed here',
    meaning: 'The `Allow` header names the methods that are.',
  },
  request_timed_out: {
    status: 408,
    title: 'The request took too long to arrive',
    meaning: 'Headers and body have to arrive within a minute. Nothing was stored.',
  },
  idempotency_key_reused: {
    status: 409,
    title: 'The key was used for another request',
    meaning:
      'The `Idempotency-Key` belongs to a request with other content. Nothing was stored. Use a new key for a new task.',
  },
  queue_in_use: {
    status: 409,
    title: 'The queue cannot be deleted',
    meaning:
      'Only a queue without tasks, dead letters and pause can be deleted, and not the default one; `detail` says what there is. Nothing was done.',
  },
  not_cancellable: {
    status: 409,
    title: 'The task cannot be cancelled',
    meaning: 'It has ended already; `detail` says how.',
  },
  not_requeueable: {
    status: 409,
    title: 'The task cannot be requeued',
    meaning: 'It has never failed; `detail` says how it stands.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is too large',
    meaning:
      'One task may be `PAYLOAD_MAX_BYTES` and 64 KiB long, a batch `BATCH_MAX_BYTES`, and everything of a task or batch that is no payload 256 KiB; no body more than a quarter of `IN_FLIGHT_MAX_BYTES`.',
  },
  invalid_cursor: {
    status: 409,
    title: 'The cursor does not belong to this request',
    meaning:
      'A `next_cursor` continues the request that it answered: the same route with the same filter, and for a requeue the same `place`, `rate` and `dry_run`. Only the size of a page may change. Nothing was done. Begin again without a cursor.',
  },
  payload_too_large: {
    status: 413,
    title: 'The payload is too large',
    meaning: 'A payload, as JSON in UTF-8 without white space, is longer than `PAYLOAD_MAX_BYTES`.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body is not declared as JSON',
    meaning: 'Send `Content-Type: application/json` in UTF-8, plain or compressed with gzip, deflate or br.',
  },
  invalid_request: {
    status: 422,
    title: 'The request is not valid',
    meaning: '`errors` names every field that is wrong, what was expected and what was given. Nothing was stored.',
  },
  queues_exceeded: {
    status: 422,
    title: 'There are too many queues',
    meaning:
      'Queues come into being by use, and this would be one more than `QUEUES_MAX`, or than the `QUEUES_MAX_PER_ADDRESS` that one client may bring into being; `detail` says which. `DELETE /queues/{name}` makes room.',
  },
  refused_data: {
    status: 422,
    title: 'The database refused the data',
    meaning: 'PostgreSQL cannot store a value of this request. Nothing was stored.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many tasks in too short a time',
    meaning: 'Repeat the request after the seconds in `Retry-After`; `RateLimit-*` tell how the limit stands.',
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are too large',
    meaning: 'The request line and all headers together may be 16 KiB long.',
  },
  internal_error: {
    status: 500,
    title: 'Something went wrong here',
    meaning: 'A fault of this service. The log has it under the `trace_id`.',
  },
  overloaded: {
    status: 503,
    title: 'Too much is under way',
    meaning:
      'The requests and answers under way in this process take all the memory that they may (`IN_FLIGHT_MAX_BYTES`), and for a second none became free. Nothing was stored. Repeat the request after `Retry-After` seconds, or ask for less at a time.',
  },
  postgresql_unavailable: {
    status: 503,
    title: 'PostgreSQL does not answer',
    meaning:
      'Or what was asked before has no answer yet, and this waited for that in vain. Repeat the request after `Retry-After` seconds. A submission may have been stored all the same; with an `Idempotency-Key` the repetition cannot make a second task.',
  },
  pool_exhausted: {
    status: 503,
    title: 'This process is busy with PostgreSQL',
    meaning:
      'All of its connections are in use, and none came free for three seconds. Nothing was done. Repeat the request after `Retry-After` seconds.',
  },
  statement_timed_out: {
    status: 503,
    title: 'PostgreSQL took too long',
    meaning:
      'What the request asks for was not done in time, because it takes long or waits for a lock, and was ended. Nothing of it was done. Repeat it after `Retry-After` seconds, or ask for less: bounds in time make a search short.',
  },
  redis_unavailable: {
    status: 503,
    title: 'Redis does not answer',
    meaning: 'This answer can only come from Redis. Repeat the request after `Retry-After` seconds.',
  },
} as const satisfies Readonly<Record<string, ProblemKind>>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface ProblemOptions {
  readonly errors?: readonly FieldError[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** An answer other than success; thrown by handlers, sent as RFC 9457 has it. */
export class Problem extends SchedulerError {
  declare readonly code: ProblemCode;
  readonly status: number;
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;

  /** @param detail what is wrong this time */
  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    const { status } = PROBLEMS[code];
    super(code, detail, { cause: options.cause, retryable: status === 429 || status === 503 });
    this.status = status;
    this.errors = options.errors ?? [];
    this.headers = options.headers ?? {};
  }
}

/** The body of a problem, RFC 9457. */
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
