import { randomBytes } from 'node:crypto';
import type Koa from 'koa';
import { API_ANSWER_TAKEN_MS } from '../../config/timings.ts';
import { NOBODY, type Client } from '../../core/access/client.ts';
import { createRandomHex } from '../../core/random-pool.ts';
import { traceOf } from '../../core/trace.ts';
import type { MemoryBudget, MemoryLease } from '../body/memory-budget.ts';
import type { RequestInfo, RequestSession, Route } from '../route.ts';
import type { ClientAddressOf } from '../server/client-address.ts';

/** A request as the middleware sees it: its client and its session are put in when they are known. */
export interface ArrivingRequest extends RequestInfo {
  client: Client;
  session: RequestSession | null;
}

/** The state that all middleware of one request share. */
export interface RequestState {
  info: ArrivingRequest;
  /** The share of the memory budget that this request holds. */
  lease: MemoryLease;
  /** Null until a route has matched. */
  route: Route | null;
  /** Fields for the log line of the request. */
  fields: Record<string, string | number | boolean>;
}

export type Middleware = Koa.Middleware<RequestState>;
export type RequestContext = Koa.ParameterizedContext<RequestState>;

export interface RequestScopeOptions {
  readonly clientAddressOf: ClientAddressOf;
  /** True after the signal to stop. Answers then close the connection, so that clients reconnect to another replica. */
  readonly isDraining: () => boolean;
  readonly memory: MemoryBudget;
  /** Milliseconds that a client has to take its answer before its connection is cut. */
  readonly answerTakenMs?: number;
}

/**
 * Gives a request its trace, its client's address and a lease of memory. The lease is released when the work is done
 * and the client has taken the answer or has gone. Every answer carries the id of the trace.
 */
export function requestScope(options: RequestScopeOptions): Middleware {
  const { clientAddressOf, isDraining, memory, answerTakenMs = API_ANSWER_TAKEN_MS } = options;
  const randomHex = createRandomHex(randomBytes);
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
        client: NOBODY,
        session: null,
        rawHeaders: headers,
        setHeader: (name, value) => void ctx.res.setHeader(name, value),
        annotate: (more) => Object.assign(fields, more),
      },
    };
    // Code that runs for every answer avoids Koa's `set`, which costs several times as much as `setHeader` itself.
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

/** Node joins repeated headers of these names with commas, so an array occurs only in the types. */
function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.join(',');
}
