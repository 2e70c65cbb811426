import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { REFUSED_BODY_LINGER_MS } from '../../config/timings.ts';
import type { Middleware, RequestContext } from '../middleware/request-scope.ts';
import { hasBody } from './read-body.ts';

/** Bytes. A body up to this length is read to its end, and the connection stays open. */
const READ_TO_END_MAX = 65_536;

/**
 * Handles a body that is still unread when the answer is ready, because the request was refused or the route reads no
 * body. An unread body would block the next request on the connection. A short body is read and dropped; after a long
 * one, the connection is closed.
 */
export function unreadBody(): Middleware {
  return async (ctx, next) => {
    await next();
    if (ctx.req.complete || !hasBody(ctx) || ctx.res.destroyed) return;
    ctx.req.unpipe();
    const length = Number(ctx.req.headers['content-length'] ?? Number.POSITIVE_INFINITY);
    if (length > READ_TO_END_MAX || ctx.req.headers.expect !== undefined) closeAfterAnswer(ctx);
    // The data is dropped, because it has no listener.
    ctx.req.resume();
  };
}

/**
 * Sends the whole answer at once, but closes the connection only when the client has stopped sending or a time limit
 * has passed. Closing a connection while data arrives resets it, and the client might lose the answer.
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
