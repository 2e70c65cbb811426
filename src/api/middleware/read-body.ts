import { bodyParser } from '@koa/bodyparser';
import type Koa from 'koa';
import { Problem } from '../problem.ts';
import { parseBody } from '../request-body.ts';
import type { RequestContext } from './request-scope.ts';

export interface BodyLimits {
  readonly bytes: number;
  /** Levels of nesting. */
  readonly depth: number;
}

/** Reads the JSON body of a request; undefined if it has none. Throws a `Problem`. */
export type ReadBody = (ctx: RequestContext) => Promise<unknown>;

export function createReadBody({ bytes, depth }: BodyLimits): ReadBody {
  // The parser only collects: as Latin-1 every byte comes through, so that bytes which are not UTF-8 can be refused.
  const collect = bodyParser({
    enableTypes: ['text'],
    extendTypes: { text: ['application/json'] },
    encoding: 'latin1',
    textLimit: bytes,
  }) as Koa.Middleware;

  return async (ctx) => {
    if (!hasBody(ctx)) return undefined;
    requireJson(ctx);
    try {
      await collect(ctx, async () => {});
    } catch (error) {
      throw bodyProblem(error, bytes);
    }
    const raw = (ctx.request as { rawBody?: unknown }).rawBody;
    if (typeof raw !== 'string') throw new Problem('body_incomplete', 'the connection broke while the body was read');
    return parseBody(Buffer.from(raw, 'latin1'), depth);
  };
}

function hasBody({ req: { headers } }: RequestContext): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function requireJson(ctx: RequestContext): void {
  const { type, charset } = ctx.request;
  if (type.toLowerCase() !== 'application/json' || !/^(utf-?8)?$/i.test(charset)) {
    const given = ctx.get('content-type');
    throw new Problem(
      'unsupported_media_type',
      `expected application/json in UTF-8; given ${given === '' ? 'no content type' : given}`,
    );
  }
}

/** Codes of zlib and Brotli. */
const NOT_COMPRESSED = /^(Z_|ERR__ERROR_)/;

/** What goes wrong between the socket and the text. */
function bodyProblem(error: unknown, limit: number): unknown {
  const { status, type, code } = error as { status?: unknown; type?: unknown; code?: unknown };
  if (type === 'entity.too.large') {
    return new Problem('body_too_large', `the body is longer than ${limit} bytes`, { cause: error });
  }
  if (status === 415) {
    return new Problem('unsupported_media_type', 'the content encoding is none of identity, gzip, deflate and br', {
      cause: error,
    });
  }
  if (status === 400 || (typeof code === 'string' && NOT_COMPRESSED.test(code))) {
    return new Problem('body_incomplete', 'the body is not what its headers announce', { cause: error });
  }
  return error;
}
