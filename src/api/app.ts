import { Router } from '@koa/router';
import Koa from 'koa';
import { z } from 'zod';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createClientAddressOf, type ClientAddressOf } from './client-address.ts';
import { fieldErrors, type RequestPart } from './field-errors.ts';
import { accessLog } from './middleware/access-log.ts';
import { problemMapper } from './middleware/problem-mapper.ts';
import { createReadBody } from './middleware/read-body.ts';
import { requestScope, type Middleware, type RequestContext, type RequestState } from './middleware/request-scope.ts';
import { securityHeaders } from './middleware/security-headers.ts';
import { Problem, type FieldError } from './problem.ts';
import { ERRORS_LISTED_MAX } from './request-body.ts';
import type { Answer, Route } from './route.ts';

export interface AppOptions {
  readonly routes: readonly Route[];
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Believes no proxy unless given. */
  readonly clientAddressOf?: ClientAddressOf;
  /** True from the signal to stop. */
  readonly isDraining?: () => boolean;
}

export type App = Koa<RequestState>;

const BODY_LIMIT_BYTES = 1_048_576;
const BODY_DEPTH = 64;

/** Serves a table of routes. */
export function createApp(options: AppOptions): App {
  const { routes, metrics, log, clientAddressOf = createClientAddressOf([]), isDraining = () => false } = options;
  const app: App = new Koa<RequestState>();
  // What reaches it happened after the answer was begun: mostly a client that went away.
  app.on('error', (error: unknown) => log.debug({ err: error }, 'answer could not be sent'));
  app.use(requestScope({ clientAddressOf, isDraining }));
  app.use(accessLog(metrics, log));
  app.use(problemMapper(log));
  app.use(securityHeaders());

  app.use(routerOf(routes).routes() as Middleware);
  app.use(refusePath);
  return app;
}

/**
 * The router refuses a path's other methods itself, so that they do not go on to a path that matches as well:
 * `GET /tasks/batch` is not a look at the task `batch`. Paths without parameters come first for the same reason.
 */
function routerOf(routes: readonly Route[]): Router<RequestState> {
  const router = new Router<RequestState>();
  const paths = Map.groupBy(routes, ({ path }) => path);
  const plainFirst = [...paths].toSorted(([one], [other]) => Number(one.includes('{')) - Number(other.includes('{')));
  for (const [path, served] of plainFirst) {
    for (const route of served) router[route.method](routerPath(path), serve(route));
    router.all(routerPath(path), refuseMethod(served) as never);
  }
  return router;
}

/** `/tasks/{id}` as path-to-regexp writes it. */
function routerPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

const refusePath: Middleware = async (ctx) => {
  throw new Problem('not_found', `nothing has the path ${ctx.path}`);
};

function refuseMethod(served: readonly Route[]): Middleware {
  const methods = served.map(({ method }) => method.toUpperCase());
  const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].toSorted().join(', ');
  return async (ctx) => {
    throw new Problem('method_not_allowed', `${ctx.method} is not among ${allow}`, { headers: { Allow: allow } });
  };
}

/** Admission, body, validation, handler, answer. */
function serve(route: Route): Middleware {
  const readBody = createReadBody({ bytes: route.bodyLimit ?? BODY_LIMIT_BYTES, depth: route.bodyDepth ?? BODY_DEPTH });
  const validate = createValidation(route);
  return async (ctx) => {
    const { info } = ctx.state;
    ctx.state.route = route;
    await route.admit?.(info);
    const body = route.body === undefined ? undefined : await readBody(ctx);
    const request = { ...info, ...validate(ctx, body) };
    send(ctx, route, await route.handler(request as never));
  };
}

function send(ctx: RequestContext, route: Route, { status = 200, headers = {}, body }: Answer): void {
  const contentType = route.responses[status]?.contentType;
  ctx.status = status;
  ctx.set({ 'Content-Type': contentType ?? 'application/json; charset=utf-8', ...headers });
  ctx.body = contentType === undefined ? JSON.stringify(body) : body;
}

interface Validated {
  readonly params: unknown;
  readonly query: unknown;
  readonly headers: unknown;
  readonly body: unknown;
}

const NO_FIELDS = z.strictObject({});

/** Checks all parts of a request before it complains, so that one answer names everything that is wrong. */
function createValidation(route: Route): (ctx: RequestContext, body: unknown) => Validated {
  const { params = NO_FIELDS, headers = z.object({}), body: bodySchema = z.undefined() } = route;
  const query = strict(route.query ?? NO_FIELDS);
  const content = strict(bodySchema);

  return (ctx, given) => {
    const errors: FieldError[] = [];
    const check = (part: RequestPart, schema: z.ZodType, input: unknown): unknown => {
      const result = schema.safeParse(input);
      if (!result.success) errors.push(...fieldErrors(part, result.error, input));
      return result.data;
    };
    const validated = {
      params: check('path', params, (ctx as unknown as { params: unknown }).params),
      query: check('query', query, { ...ctx.query }),
      headers: check('header', headers, ctx.req.headers),
      body: check('body', content, given),
    };
    if (errors.length === 0) return validated;
    if (given === undefined && errors.every(({ path }) => path === '')) {
      throw new Problem('body_required', 'a JSON body is required');
    }
    throw invalidRequest(errors);
  };
}

/** Unknown fields are refused whether or not a schema says so. */
function strict(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodObject ? schema.strict() : schema;
}

export function invalidRequest(errors: readonly FieldError[]): Problem {
  const most = ERRORS_LISTED_MAX;
  const detail =
    errors.length > most
      ? `more than ${most} fields are wrong; the first ${most} are listed`
      : `${errors.length} ${errors.length === 1 ? 'field is' : 'fields are'} wrong`;
  return new Problem('invalid_request', detail, { errors: errors.slice(0, most) });
}
