import { request as requestPlain, Agent, type ClientRequest, type ClientRequestArgs } from 'node:http';
import { request as requestSecure, Agent as SecureAgent } from 'node:https';
import { connect, type BlockList, type Socket } from 'node:net';
import { HTTP_KEEP_ALIVE_MS, HTTP_TCP_PROBE_MS } from '../config/timings.ts';
import type { HttpRequest } from './http-payload.ts';
import type { IncomingResponse } from './http-response.ts';

export interface HttpClientOptions {
  /** Addresses that are never connected to. */
  readonly refused: BlockList;
  /** Time for the TCP connection and the TLS handshake together. */
  readonly connectTimeoutMs: number;
  /** Certificates to trust instead of Node's, in PEM. */
  readonly ca?: string | undefined;
}

/**
 * Sends requests over connections that are kept for a few seconds. Redirects are not followed, and interim
 * answers (100 Continue, 103 Early Hints) are passed over. Nothing but the signal ends a request that has a connection.
 */
export interface HttpClient {
  /**
   * Resolves with the final answer once its headers are there. Reading the body throws when the connection
   * breaks or the signal fires.
   * @throws the signal's reason, or the error of the connection: `ERR_IP_BLOCKED`, `ECONNREFUSED`, `ETIMEDOUT` …
   */
  send(wanted: HttpRequest, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingResponse>;
  /** Closes every connection, those under way too. Idempotent. */
  close(): void;
}

/** Node's own limit of 16 KiB is exceeded by answers that set many cookies; a failed request would be sent again. */
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
    // TLS sockets ignore a `blockList`, so the address is checked by the plain socket below.
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
        headers: { ...wanted.headers, ...headers },
        maxHeaderSize: HEADERS_MAX_BYTES,
        signal,
      });
      // As bytes: beside a text, Node would write the headers as UTF-8 too, and they are Latin-1.
      const body = wanted.body === null ? null : Buffer.from(wanted.body);
      // Node writes none by itself where it expects no body, as for DELETE.
      if (body !== null) message.setHeader('Content-Length', body.length);
      const answer = answerTo(message, signal);
      message.end(body ?? undefined);
      return answer;
    },
    close() {
      plain.destroy();
      secure.destroy();
      // The agents forget connections that are still being made.
      closing.abort();
    },
  };
}

/**
 * Connects to addresses outside `refused` only. The list is held against the address that is about to be
 * dialled, after the name was resolved, so neither the spelling of an address nor a name that changes its mind
 * gets around it.
 */
function dialGuarded({ host, port, defaultPort }: ClientRequestArgs, refused: BlockList): Socket {
  return connect({
    host: host ?? 'localhost',
    port: Number(port ?? defaultPort),
    blockList: refused,
    noDelay: true,
    // Who waits for a slow answer must notice a peer that has gone.
    keepAlive: true,
    keepAliveInitialDelay: HTTP_TCP_PROBE_MS,
  });
}

/**
 * Hands over the first of the sockets when it is ready, or the first error; then all of them are destroyed.
 * @param sockets the one to use and those it stands on
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
    settle(withCode(new Error('the connection was closed while it was being made'), 'ECONNRESET'));
  const onClosing = (): void => settle(withCode(new Error('the client was closed'), 'ECONNABORTED'));
  const timer = setTimeout(
    () => settle(withCode(new Error(`no connection within ${connectTimeoutMs / 1_000} s`), 'ETIMEDOUT')),
    connectTimeoutMs,
  );
  for (const one of sockets) one.on('error', settle).on('close', onClose);
  socket.on(readyEvent, onReady);
  closing.addEventListener('abort', onClosing, { once: true });
}

/** The final answer. Rejects at once when the signal fires: Node waits for the socket first. */
function answerTo(message: ClientRequest, signal: AbortSignal): Promise<IncomingResponse> {
  const answer = Promise.withResolvers<IncomingResponse>();
  const onAbort = (): void => answer.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  message.once('response', (response) =>
    answer.resolve({ statusCode: response.statusCode ?? 0, headers: response.headers, body: response }),
  );
  // Also after the answer, where it changes nothing: the body tells that it broke off.
  message.on('error', answer.reject);
  message.once('upgrade', (_, socket) => {
    socket.destroy();
    answer.reject(withCode(new Error('the target switched protocols, which was not asked for'), 'ERR_UPGRADE'));
  });
  return answer.promise.finally(() => signal.removeEventListener('abort', onAbort));
}

function withCode(error: Error, code: string): Error & { code: string } {
  return Object.assign(error, { code });
}
