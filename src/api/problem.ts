import { SchedulerError } from '../core/errors.ts';

/**
 * Every `code` of a problem with its title, which does not vary. They are an
 * interface: clients branch on them, and `docs/errors.md` explains each.
 */
export const PROBLEM_TITLES = {
  malformed_json: 'The body is not JSON',
  body_required: 'The body is missing',
  unsupported_media_type: 'The body is not declared as JSON',
  body_too_large: 'The body is too large',
  body_incomplete: 'The body ended early',
  invalid_request: 'The request is not valid',
  refused_data: 'The database refused the data',
  queues_exceeded: 'There are too many queues',
  idempotency_key_reused: 'The key was used for another request',
  rate_limited: 'Too many tasks in too short a time',
  not_found: 'There is nothing here',
  method_not_allowed: 'This method is not allowed here',
  task_not_found: 'There is no such task',
  queue_not_found: 'There is no such queue',
  dead_letter_not_found: 'There is no such dead letter',
  not_cancellable: 'The task cannot be cancelled',
  not_requeueable: 'The task cannot be requeued',
  postgresql_unavailable: 'PostgreSQL does not answer',
  redis_unavailable: 'Redis does not answer',
  shutting_down: 'The process shuts down',
  internal_error: 'Something went wrong here',
} as const;

export type ProblemCode = keyof typeof PROBLEM_TITLES;

/** What is wrong with one field. */
export interface FieldError {
  /** A JSON pointer into the body, or `query:<name>`, `path:<name>`, `header:<name>`. */
  readonly path: string;
  readonly code: string;
  readonly message: string;
  readonly expected?: string;
  readonly given?: string;
}

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

  constructor(status: number, code: ProblemCode, detail: string, options: ProblemOptions = {}) {
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
    title: PROBLEM_TITLES[code],
    status,
    detail: message,
    code,
    trace_id: traceId,
    ...(errors.length > 0 ? { errors } : {}),
  };
}
