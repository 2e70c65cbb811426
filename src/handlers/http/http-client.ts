import { request as requestPlain, Agent, type ClientRequest, type ClientRequestArgs } from 'node:http';
import { request as requestSecure, Agent as SecureAgent } from 'node:https';
import { connect, type BlockList, type Socket } from 'node:net';
import { HTTP_KEEP_ALIVE_MS, HTTP_TCP_PROBE_MS } from '../../config/timings.ts';
import type { HttpRequest } from './http-payload.ts';
import type { IncomingResponse } from './http-response.ts';

/** What the client reads of a request; its headers are given apart. */
export type Sendable = Pick<HttpRequest, 'url' | 'method' | 'body'>;

export interface HttpClientOptions {
  /** Addresses to which the client never connects. */
  readonly refused: BlockList;
  /** Milliseconds for the TCP connection and the TLS handshake together. */
  readonly connectTimeoutMs: number;
  /** Certificates to trust instead of Node's, in PEM. */
  readonly ca?: string | undefined;
}

/**
 * Sends requests over connections that are kept open for a few seconds. It does not follow redirects and skips interim
 * responses (100 Continue, 103 Early Hints). Only the signal ends a request that has a connection.
 */
export interface HttpClient {
  /**
   * Sends a request. Resolves with the final response when its headers have arrived. Reading the body throws when the
   * connection breaks or the signal fires.
   * @throws the signal's reason, or the error of the connection: `ERR_IP_BLOCKED`, `ECONNREFUSED`, `ETIMEDOUT` …
   */
  send(wanted: Sendable, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingResponse>;
  /** Closes every connection, even if a request is in progress. Idempotent. */
  close(): void;
}

/** Responses that set many cookies exceed Node's own limit of 16 KiB, and a failed request would be sent again. */
const HEADERS_MAX_BYTES = 1_048_576;

export function createHttpClient({ refused, connectTimeoutMs, ca }: HttpClientOptions): HttpClient {
  const closing = new AbortController();
  const kept = { keepAlive: true, timeout: HTTP_KEEP_ALIVE_MS };
  const plain = new Agent(kept);
  const secure = new SecureAgent({ ...kept, ALPNProtocols: ['http/1.1'], ...(ca === undefined ? {} : { ca }) });
  const dial = (options: ClientRequestArgs): Socket => dialGuarded(options, refused);
  const startTls = secure.createConnection.bind(secure);

  plain.createConnection = (options, callback) => {
    awaitConnection([dial(options)], 'connect', { connectTimeoutMs, closing: closing.signal }, callback);
    return undefined;
  };
  secure.createConnection = (options, callback) => {
    // TLS sockets ignore a `blockList`, so the plain socket below checks the address.
    const below = dial(options);
    const above = startTls({ ...options, socket: below } as ClientRequestArgs) as Socket;
    awaitConnection([above, below], 'secureConnect', { connectTimeoutMs, closing: closing.signal }, callback);
    return undefined;
  };

  return {
    send(wanted, headers, signal) {
      const isSecure = wanted.url.protocol === 'https:';
      const message = (isSecure ? requestSecure : requestPlain)(wanted.url, {
        agent: isSecure ? secure : plain,
        method: wanted.method,
        headers,
        maxHeaderSize: HEADERS_MAX_BYTES,
        signal,
      });
      // Send the body as bytes. With a text, Node would also write the headers as UTF-8, but they are Latin-1.
      const body = wanted.body === null ? null : Buffer.from(wanted.body);
      // Node does not set this header for methods without an expected body, such as DELETE.
      if (body !== null) message.setHeader('Content-Length', body.length);
      const answer = answerTo(message, signal);
      message.end(body ?? undefined);
      return answer;
    },
    close() {
      plain.destroy();
      secure.destroy();
      // The agents do not close connections that are still being opened.
      closing.abort();
    },
  };
}

/**
 * Connects only to addresses outside `refused`. The socket checks the address to which it connects, after the name was
 * resolved. So neither another spelling of an address nor a name that resolves differently the next time gets around
 * the list.
 */
function dialGuarded({ host, port, defaultPort }: ClientRequestArgs, refused: BlockList): Socket {
  return connect({
    host: host ?? 'localhost',
    port: Number(port ?? defaultPort),
    blockList: refused,
    noDelay: true,
    // A client that waits for a slow response must notice a dead peer.
    keepAlive: true,
    keepAliveInitialDelay: HTTP_TCP_PROBE_MS,
  });
}

/**
 * Calls back with the first socket when it is ready, or with the first error. After an error it destroys all sockets.
 * @param sockets the socket to use, and the sockets below it
 */
function awaitConnection(
  sockets: readonly [Socket, ...Socket[]],
  readyEvent: 'connect' | 'secureConnect',
  { connectTimeoutMs, closing }: { readonly connectTimeoutMs: number; readonly closing: AbortSignal },
  callback: ((error: Error | null, socket: Socket) => void) | undefined,
): void {
  const [socket] = sockets;
  const settle = (error: Error | null): void => {
    clearTimeout(timer);
    closing.removeEventListener('abort', onClosing);
    for (const one of sockets) one.off('error', settle).off(readyEvent, onReady).off('close', onClose);
    if (error !== null) {
      for (const one of sockets) one.on('error', () => {}).destroy();
    }
    callback?.(error, socket);
  };
  const onReady = (): void => settle(null);
  const onClose = (): void =>
    settle(withCode(new Error('the connection was closed while it was being opened'), 'ECONNRESET'));
  const onClosing = (): void => settle(withCode(new Error('the client was closed'), 'ECONNABORTED'));
  const timer = setTimeout(
    () => settle(withCode(new Error(`no connection within ${connectTimeoutMs / 1_000} s`), 'ETIMEDOUT')),
    connectTimeoutMs,
  );
  for (const one of sockets) one.on('error', settle).on('close', onClose);
  socket.on(readyEvent, onReady);
  closing.addEventListener('abort', onClosing, { once: true });
}

/**
 * Waits for the final response. Rejects at once when the signal fires, because Node would wait for the socket first.
 */
function answerTo(message: ClientRequest, signal: AbortSignal): Promise<IncomingResponse> {
  const answer = Promise.withResolvers<IncomingResponse>();
  const onAbort = (): void => answer.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  message.once('response', (response) =>
    answer.resolve({ statusCode: response.statusCode ?? 0, headers: response.headers, body: response }),
  );
  // Keep the listener after the response. An error then has no effect here, because reading the body throws it.
  message.on('error', answer.reject);
  message.once('upgrade', (_, socket) => {
    socket.destroy();
    answer.reject(withCode(new Error('the target switched protocols without a request to do so'), 'ERR_UPGRADE'));
  });
  return answer.promise.finally(() => signal.removeEventListener('abort', onAbort));
}

function withCode(error: Error, code: string): Error & { code: string } {
  return Object.assign(error, { code });
}
