import { atOnce, inSlices } from '../../lifecycle/slices.ts';
import type { RequestContext } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import { BODY_WEIGHT, collectBody } from './collect-body.ts';
import { parseBody, type BodyShape, type GivenBody } from './request-body.ts';

export interface BodyLimits {
  readonly bytes: number;
  /** Levels of nesting. */
  readonly depth: number;
  readonly shape: BodyShape;
  /** Bytes that all requests together may take. */
  readonly budgetBytes: number;
}

/** Reads the JSON body of a request; undefined if it has none. Throws a `Problem`. */
export type ReadBody = (ctx: RequestContext) => Promise<GivenBody | undefined>;

/** Bytes. Longer bodies are parsed in slices. */
const SHORT_BODY = 32_768;

/** Bytes that a request takes besides its body and its answer. */
const REQUEST_BYTES = 8_192;

export function createReadBody({ bytes, depth, shape, budgetBytes }: BodyLimits): ReadBody {
  const limit = Math.min(bytes, Math.floor(budgetBytes / BODY_WEIGHT));
  return async (ctx) => {
    if (!hasBody(ctx)) return undefined;
    requireJson(ctx);
    const { lease } = ctx.state;
    if (!lease.tryTake(REQUEST_BYTES)) await lease.take(REQUEST_BYTES);
    if (expectsContinue(ctx)) ctx.res.writeContinue();
    const body = await collectBody(ctx.req, limit, lease);
    const work = parseBody(body, depth, shape);
    return body.length <= SHORT_BODY ? atOnce(work) : inSlices(work);
  };
}

export function hasBody({ req: { headers } }: RequestContext): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Returns whether the client waits for `100 Continue` before it sends its body. Only the reader of the body sends it,
 * so that a client whose request is refused does not send the body.
 */
function expectsContinue({ req: { headers } }: RequestContext): boolean {
  return /^100-continue$/i.test(headers.expect ?? '');
}

function requireJson(ctx: RequestContext): void {
  // Most clients write it like this. Taking the header apart would cost more than the rest of reading a short body.
  if (ctx.req.headers['content-type'] === 'application/json') return;
  const { type, charset } = ctx.request;
  if (type.toLowerCase() !== 'application/json' || !/^(utf-?8)?$/i.test(charset)) {
    const given = ctx.get('content-type');
    throw new Problem(
      'unsupported_media_type',
      `expected application/json in UTF-8; given ${given === '' ? 'no content type' : given}`,
    );
  }
}
