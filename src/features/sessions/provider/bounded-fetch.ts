import type { Agent } from 'undici';
import { messageOf } from '../../../core/errors.ts';
import { ProviderFault } from './provider-fault.ts';

/** A request as both libraries send it. */
export interface FetchOptions {
  readonly method: string;
  readonly headers: Headers | Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends requests to the provider. An answer that comes too late, is too large, or says that the provider itself has
 * failed is a `ProviderFault`, so nothing that the provider does can take more of this process than the limits allow.
 */
export interface BoundedFetch {
  fetch(url: string, options: FetchOptions): Promise<Response>;
  /** Closes all connections, also those of requests in progress. Idempotent. */
  close(): Promise<void>;
}

export interface FetchLimits {
  /** Milliseconds for the whole request: connection, TLS, headers and body. */
  readonly timeoutMs: number;
  /** The largest body in bytes, after it was decompressed. */
  readonly bytesMax: number;
}

/** Connections to one server. More requests wait for one, within their time limit. */
const CONNECTIONS = 10;

/** Statuses whose answers have no body. */
const WITHOUT_BODY = new Set([204, 205, 304]);

/**
 * The library is loaded on first use, because most installations have no provider. Redirects are not followed: they are
 * answers that no endpoint of a provider gives.
 * @param ca certificates to trust instead of Node's, in PEM
 */
export function createBoundedFetch({ timeoutMs, bytesMax }: FetchLimits, ca?: string): BoundedFetch {
  let loading: Promise<{ readonly agent: Agent; readonly fetch: typeof import('undici').fetch }> | undefined;
  const load = async () => {
    const { Agent: Connections, fetch } = await import('undici');
    return { fetch, agent: new Connections({ connections: CONNECTIONS, connect: ca === undefined ? {} : { ca } }) };
  };

  return {
    async fetch(url, { method, headers, body, signal }) {
      const { agent, fetch } = await (loading ??= load());
      const late = AbortSignal.timeout(timeoutMs);
      const where = `${method} ${url}`;
      try {
        const response = await fetch(url, {
          method,
          headers: Object.fromEntries(new Headers(headers)),
          ...(body === undefined || body === null ? {} : { body: textOf(body) }),
          redirect: 'manual',
          signal: signal === undefined ? late : AbortSignal.any([late, signal]),
          dispatcher: agent,
        });
        const { status } = response;
        if (status >= 500 || status === 429) throw new ProviderFault(`${where}: the answer has the status ${status}`);
        const bytes = await readAtMost(response.body, bytesMax);
        if (bytes === null) throw new ProviderFault(`${where}: the answer has more than ${bytesMax} bytes`);
        // The body is no longer compressed.
        const kept = [...response.headers].filter(([name]) => !/^content-(encoding|length)$/.test(name));
        return new Response(WITHOUT_BODY.has(status) ? null : bytes, { status, headers: kept });
      } catch (error) {
        if (error instanceof ProviderFault) throw error;
        const reason = late.aborted ? `no whole answer within ${timeoutMs} ms` : describe(error);
        throw new ProviderFault(`${where}: ${reason}`, error);
      }
    },
    async close() {
      await (await loading)?.agent.destroy();
    },
  };
}

function textOf(body: unknown): string {
  if (typeof body === 'string' || body instanceof URLSearchParams) return String(body);
  throw new TypeError('the body of a request to the provider has to be a text');
}

/** Returns all bytes; null if there are more than allowed. Leaving the loop ends the connection. */
async function readAtMost(
  body: AsyncIterable<Uint8Array> | null,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.byteLength;
    if (length > bytesMax) return null;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** `fetch` itself only says that it has failed; its cause says why. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code } = cause as { readonly code?: unknown };
  const message = messageOf(cause);
  return typeof code === 'string' && !message.includes(code) ? `${code} ${message}`.trim() : message;
}
