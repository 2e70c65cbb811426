import { randomBytes } from 'node:crypto';
import type Koa from 'koa';
import { API_ANSWER_TAKEN_MS } from '../../config/timings.ts';
import { createRandomPool } from '../../core/random-pool.ts';
import { traceOf } from '../../core/trace.ts';
import type { ClientAddressOf } from '../client-address.ts';
import type { MemoryBudget, MemoryLease } from '../body/memory-budget.ts';
import type { RequestInfo, Route } from '../route.ts';

/** What the middleware of one request share. */
export interface RequestState {
  info: RequestInfo;
  /** Its part of the memory for what is under way. */
  lease: MemoryLease;
  /** Null until one has matched. */
  route: Route | null;
  /** For the request's line in the log. */
  fields: Record<string, string | number | boolean>;
}

export type Middleware = Koa.Middleware<RequestState>;
export type RequestContext = Koa.ParameterizedContext<RequestState>;

export interface RequestScopeOptions {
  readonly clientAddressOf: ClientAddressOf;
  /** True from the signal to stop; clients are then asked to connect anew, to somebody else. */
  readonly isDraining: () => boolean;
  readonly memory: MemoryBudget;
  /** Milliseconds; a client that has not taken its answer by then is cut off. */
  readonly answerTakenMs?: number;
}

/**
 * Gives a request its trace, its client's address, and its part of the memory until its work is done and its client has
 * taken the answer or is gone. Gives every answer the trace's id.
 */
export function requestScope(options: RequestScopeOptions): Middleware {
  const { clientAddressOf, isDraining, memory, answerTakenMs = API_ANSWER_TAKEN_MS } = options;
  const takeRandom = createRandomPool(randomBytes);
  const randomHex = (bytes: number): string => Buffer.from(takeRandom(bytes)).toString('hex');
  return async (ctx, next) => {
    const { headers, socket } = ctx.req;
    const trace = traceOf(
      { traceId: single(headers['x-trace-id']), traceparent: single(headers['traceparent']) },
      randomHex,
    );
    const fields: RequestState['fields'] = {};
    const lease = memory.open();
    let worked = false;
    let cut: NodeJS.Timeout | undefined;
    ctx.res.once('close', () => {
      clearTimeout(cut);
      if (worked) lease.release();
    });
    ctx.state = {
      lease,
      route: null,
      fields,
      info: {
        trace,
        clientAddress: clientAddressOf(socket.remoteAddress, single(headers['x-forwarded-for'])),
        rawHeaders: headers,
        setHeader: (name, value) => void ctx.res.setHeader(name, value),
        annotate: (more) => Object.assign(fields, more),
      },
    };
    // Not Koa's `set`, here and wherever every answer passes: it costs several times as much as what it calls.
    ctx.res.setHeader('X-Trace-ID', trace.traceId);
    try {
      await next();
    } finally {
      if (isDraining()) ctx.set('Connection', 'close');
      worked = true;
      if (ctx.res.closed) lease.release();
      else cut = setTimeout(() => socket.destroy(), answerTakenMs);
    }
  };
}

/** Node joins repeated headers of these names with commas. */
function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.join(',');
}
