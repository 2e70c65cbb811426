import { Router } from '@koa/router';
import Koa from 'koa';
import { createAllowedHosts, type AllowedHosts } from '../config/allowed-hosts.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { authorize, type Authentication } from './access/authentication.ts';
import { refuseForeign } from './access/foreign.ts';
import { noteRefusals, type RefusalLog } from './access/refusals.ts';
import { createMemoryBudget, type MemoryBudget } from './body/memory-budget.ts';
import { inFlightByDefault } from './body/memory-limit.ts';
import { createReadBody } from './body/read-body.ts';
import { unreadBody } from './body/unread-body.ts';
import { accessLog } from './middleware/access-log.ts';
import { problemMapper } from './middleware/problem-mapper.ts';
import { requestScope, type Middleware, type RequestContext, type RequestState } from './middleware/request-scope.ts';
import { securityHeaders } from './middleware/security-headers.ts';
import { plainPathsFirst } from './plain-paths.ts';
import { Problem } from './problem.ts';
import type { Answer, Route } from './route.ts';
import { sendJson } from './send-json.ts';
import { createClientAddressOf, type ClientAddressOf } from './server/client-address.ts';
import { createValidation } from './validation.ts';

export interface AppOptions {
  readonly routes: readonly Route[];
  /** Finds out on whose behalf a request acts. */
  readonly authentication: Authentication;
  /** Default: addresses and `localhost`. */
  readonly allowedHosts?: AllowedHosts;
  /** Takes the requests that were refused, for the audit log. Default: they are only logged. */
  readonly refusals?: RefusalLog;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Default: no proxy is trusted. */
  readonly clientAddressOf?: ClientAddressOf;
  /** True after the signal to stop. */
  readonly isDraining?: () => boolean;
  /** Default: a share of the memory of this process. */
  readonly memory?: MemoryBudget;
  /** Milliseconds that a client has to take its answer. Default: one minute. */
  readonly answerTakenMs?: number;
}

export type App = Koa<RequestState>;

const BODY_LIMIT_BYTES = 65_536;
const BODY_DEPTH = 64;

/** Makes a Koa application that serves a table of routes. */
export function createApp(options: AppOptions): App {
  const {
    routes,
    authentication,
    metrics,
    log,
    clientAddressOf = createClientAddressOf([]),
    isDraining = () => false,
  } = options;
  const memory = options.memory ?? createMemoryBudget({ maxBytes: inFlightByDefault(), metrics });
  const { answerTakenMs, allowedHosts = createAllowedHosts([]) } = options;
  const app: App = new Koa<RequestState>();
  // Errors reach this listener only after the answer has begun. Usually the client has disconnected.
  app.on('error', (error: unknown) => log.debug({ err: error }, 'answer could not be sent'));
  app.use(
    requestScope({ clientAddressOf, isDraining, memory, ...(answerTakenMs === undefined ? {} : { answerTakenMs }) }),
  );
  app.use(accessLog(metrics, log));
  app.use(unreadBody());
  app.use(problemMapper(log));
  app.use(securityHeaders());
  if (options.refusals !== undefined) app.use(noteRefusals(options.refusals));

  app.use(plainPathsFirst(routerOf(routes, { authentication, allowedHosts, memory })));
  app.use(refusePath);
  return app;
}

/**
 * Makes the router. It refuses the other methods of a path itself, so that such a request does not continue to another
 * path that also matches: `GET /tasks/batch` must not look for a task with the id `batch`. Paths without parameters
 * come first for the same reason.
 */
function routerOf(routes: readonly Route[], parts: ServingParts): Router<RequestState> {
  const router = new Router<RequestState>();
  const paths = Map.groupBy(routes, ({ path }) => path);
  const plainFirst = [...paths].toSorted(([one], [other]) => Number(one.includes('{')) - Number(other.includes('{')));
  for (const [path, served] of plainFirst) {
    for (const route of served) router[route.method](routerPath(path), serve(route, parts));
    router.all(routerPath(path), refuseMethod(served) as never);
  }
  return router;
}

/** Turns `/tasks/{id}` into the notation of path-to-regexp, `/tasks/:id`. */
function routerPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

const refusePath: Middleware = async (ctx) => {
  throw new Problem('not_found', `no route has the path ${ctx.path}`);
};

function refuseMethod(served: readonly Route[]): Middleware {
  const methods = served.map(({ method }) => method.toUpperCase());
  const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].toSorted().join(', ');
  return async (ctx) => {
    throw new Problem('method_not_allowed', `this path does not allow ${ctx.method}, only ${allow}`, {
      headers: { Allow: allow },
    });
  };
}

/** Memory for each byte of a page's rows: the rows exist as received from PostgreSQL, as strings, and in the answer. */
const READ_WEIGHT = 4;

interface ServingParts {
  readonly authentication: Authentication;
  readonly allowedHosts: AllowedHosts;
  readonly memory: MemoryBudget;
}

/** Serves one route: access, admission, body, validation, handler, answer. */
function serve(route: Route, { authentication, allowedHosts, memory }: ServingParts): Middleware {
  const readBody = createReadBody({
    bytes: route.bodyLimit ?? BODY_LIMIT_BYTES,
    depth: route.bodyDepth ?? BODY_DEPTH,
    shape: typeof route.tasks === 'object' ? route.tasks : route.tasks === 'body' ? 'task' : 'plain',
    budgetBytes: memory.maxBytes,
  });
  const validate = createValidation(route);
  return async (ctx) => {
    const { info, lease } = ctx.state;
    ctx.state.route = route;
    await authorize(route, info, authentication);
    refuseForeign(ctx.req.method, info, allowedHosts, route.forBrowsers);
    await route.admit?.(info);
    const given = route.body === undefined ? undefined : await readBody(ctx);
    const request = { ...info, ...(await validate(ctx, given)) };
    if (route.readsBytes !== undefined) await lease.take(READ_WEIGHT * route.readsBytes);
    await send(ctx, route, await route.handler(request as never));
  };
}

async function send(ctx: RequestContext, route: Route, { status = 200, headers = {}, body }: Answer): Promise<void> {
  if (status === 204) {
    ctx.status = status;
    ctx.set(headers);
    return;
  }
  const contentType = route.responses[status]?.contentType;
  // The type comes first: without one, Koa guesses it from the body.
  ctx.res.setHeader('Content-Type', contentType ?? 'application/json; charset=utf-8');
  if (contentType === undefined) await sendJson(ctx, body, route.body === undefined);
  else ctx.body = body;
  ctx.status = status;
  for (const [name, value] of Object.entries(headers)) ctx.res.setHeader(name, value);
}
