import {
  PoolExhaustedError,
  RefusedDataError,
  StatementTimedOutError,
  StoreUnavailableError,
} from '../../core/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { Problem, problemDocument } from '../problem.ts';
import type { Middleware } from './request-scope.ts';

/** Turns every thrown error into a problem answer (RFC 9457). */
export function problemMapper(log: Logger): Middleware {
  return async (ctx, next) => {
    const { info, fields } = ctx.state;
    try {
      await next();
    } catch (error) {
      const thrown = problemOf(error, log, info.trace.traceId);
      const problem = ctx.state.route?.secretBody === true ? withoutGiven(thrown) : thrown;
      fields['code'] = problem.code;
      ctx.status = problem.status;
      ctx.set({ 'Content-Type': 'application/problem+json', ...problem.headers });
      ctx.body = JSON.stringify(problemDocument(problem, info.trace.traceId));
    }
  };
}

/** Leaves out of the errors of a problem what was given, also as the name of a field. */
function withoutGiven(problem: Problem): Problem {
  const { code, message, headers, cause } = problem;
  const errors = problem.errors.map(({ given: _given, ...error }) =>
    error.code === 'unknown_field' ? { ...error, path: '' } : error,
  );
  return new Problem(code, message, { errors, headers, cause });
}

/** Largest `Retry-After` in seconds. The value is random, so that clients do not all retry at once. */
const RETRY_AFTER_MAX = 3;

function problemOf(error: unknown, log: Logger, traceId: string): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StoreUnavailableError) {
    const headers = { 'Retry-After': String(1 + Math.floor(Math.random() * RETRY_AFTER_MAX)) };
    if (error instanceof StatementTimedOutError) {
      return new Problem('statement_timed_out', 'PostgreSQL did not finish in time', { headers, cause: error });
    }
    if (error instanceof PoolExhaustedError) {
      const detail = 'all connections of this process to PostgreSQL are in use';
      return new Problem('pool_exhausted', detail, { headers, cause: error });
    }
    const name = error.store === 'postgresql' ? 'PostgreSQL' : 'Redis';
    return new Problem(`${error.store}_unavailable`, `${name} does not answer at the moment`, {
      headers,
      cause: error,
    });
  }
  if (error instanceof RefusedDataError) {
    return new Problem('refused_data', 'PostgreSQL refused a value of this request', { cause: error });
  }
  log.error({ err: error, trace_id: traceId }, 'request failed unexpectedly');
  return new Problem('internal_error', 'the request failed unexpectedly; the log of the service has the reason', {
    cause: error,
  });
}
