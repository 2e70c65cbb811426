import { randomBytes } from 'node:crypto';
import type Koa from 'koa';
import { createRandomPool } from '../../core/random-pool.ts';
import { traceOf } from '../../core/trace.ts';
import type { ClientAddressOf } from '../client-address.ts';
import type { RequestInfo, Route } from '../route.ts';

/** What the middleware of one request share. */
export interface RequestState {
  info: RequestInfo;
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
}

/** Gives a request its trace and its client's address, and every answer the trace's id. */
export function requestScope({ clientAddressOf, isDraining }: RequestScopeOptions): Middleware {
  const takeRandom = createRandomPool(randomBytes);
  const randomHex = (bytes: number): string => Buffer.from(takeRandom(bytes)).toString('hex');
  return async (ctx, next) => {
    const { headers, socket } = ctx.req;
    const trace = traceOf(
      { traceId: single(headers['x-trace-id']), traceparent: single(headers['traceparent']) },
      randomHex,
    );
    const fields: RequestState['fields'] = {};
    ctx.state = {
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
    }
  };
}

/** Node joins repeated headers of these names with commas. */
function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.join(',');
}
