import type { Router } from '@koa/router';
import type { Middleware, RequestState } from './middleware/request-scope.ts';

/**
 * Serves the paths without parameters from a table, because the router compares a request with every path that it
 * knows. Everything else goes to the router: other paths, and other spellings of these.
 */
export function plainPathsFirst(router: Router<RequestState>): Middleware {
  const table = new Map<string, Middleware>();
  for (const { path, methods, stack } of router.stack) {
    const [serve] = stack as unknown as Middleware[];
    if (typeof path !== 'string' || path.includes(':') || serve === undefined) continue;
    for (const method of methods) {
      const key = `${method} ${path}`;
      if (!table.has(key)) table.set(key, serve);
    }
  }
  const others = router.routes() as unknown as Middleware;
  return (ctx, next) => {
    const serve = table.get(`${ctx.method} ${ctx.path}`);
    if (serve === undefined) return others(ctx, next);
    Object.assign(ctx, { params: {} });
    return serve(ctx, next);
  };
}
