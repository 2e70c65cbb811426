import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { REFUSED_BODY_LINGER_MS } from '../../config/timings.ts';
import { hasBody } from './read-body.ts';
import type { Middleware, RequestContext } from '../middleware/request-scope.ts';

/** Bytes; so little of a body is read to its end, and the connection goes on. */
const READ_TO_END_MAX = 65_536;

/**
 * Takes care of a body that is not read to its end when the answer is ready: it was refused, or nobody wanted it. Left
 * alone it would stand between this answer and the next request, and the connection would hang. A short one is read and
 * dropped; after a long one the connection is closed.
 */
export function unreadBody(): Middleware {
  return async (ctx, next) => {
    await next();
    if (ctx.req.complete || !hasBody(ctx) || ctx.res.destroyed) return;
    ctx.req.unpipe();
    const length = Number(ctx.req.headers['content-length'] ?? Number.POSITIVE_INFINITY);
    if (length > READ_TO_END_MAX || ctx.req.headers.expect !== undefined) closeAfterAnswer(ctx);
    // Data without a listener is dropped.
    ctx.req.resume();
  };
}

/**
 * The client gets its whole answer at once, but the connection is closed only when it has stopped sending, or has had
 * the time to: a connection that is closed while data come in is reset, and the client may never see the answer.
 */
function closeAfterAnswer(ctx: RequestContext): void {
  const text = typeof ctx.body === 'string' ? ctx.body : '';
  ctx.set('Connection', 'close');
  if (ctx.body === null || ctx.body === undefined) return;
  ctx.body = Readable.from(textThenPause(text, ctx.req));
  ctx.length = Buffer.byteLength(text);
}

async function* textThenPause(text: string, request: IncomingMessage): AsyncGenerator<string> {
  yield text;
  if (!request.complete && !request.destroyed) {
    await once(request, 'end', { signal: AbortSignal.timeout(REFUSED_BODY_LINGER_MS) }).catch(() => {});
  }
}
