import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { API_KEEP_ALIVE_MS, API_REQUEST_ARRIVAL_MS } from '../../config/timings.ts';
import { listen } from '../../lifecycle/listen.ts';
import { pause } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { answerClientError } from './client-error.ts';
import type { ReadinessSwitch } from './readiness.ts';

export interface ApiServer extends Service {
  /** Null before the start. */
  address(): AddressInfo | null;
}

export interface ApiServerOptions {
  readonly handle: RequestListener;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly readiness: ReadinessSwitch;
  /** Milliseconds that the server keeps serving, while unready, before it stops listening. */
  readonly delayMs: number;
  /** Milliseconds that running requests may take after that. */
  readonly graceMs: number;
  readonly log: Logger;
}

/** Makes the HTTP server. When it is stopped, requests that it has already accepted may finish within `graceMs`. */
export function createApiServer(options: ApiServerOptions): ApiServer {
  const { handle, host, port, readiness, delayMs, graceMs, log } = options;
  const inTurn = oneAtATime(handle);
  const server = createServer({ keepAliveTimeout: API_KEEP_ALIVE_MS, requestTimeout: API_REQUEST_ARRIVAL_MS }, inTurn);
  // Without this listener, Node would send `100 Continue` itself, even for requests that are refused unread.
  server.on('checkContinue', inTurn);
  server.on('clientError', answerClientError);
  let stopped: Promise<void> | undefined;

  const drain = async (): Promise<void> => {
    readiness.drain();
    if (!server.listening) return;
    // Load balancers need time to notice that this process is unready.
    await pause(delayMs, new AbortController().signal);
    const closed = once(server, 'close');
    server.close();
    const cut = setTimeout(() => {
      log.warn('requests did not finish in time; closing their connections');
      server.closeAllConnections();
    }, graceMs);
    await closed;
    clearTimeout(cut);
  };

  return {
    name: 'api-server',
    address: () => server.address() as AddressInfo | null,
    async start() {
      await listen(server, { host, port, setting: 'PORT' });
      log.info({ port: (server.address() as AddressInfo).port }, 'api listening');
    },
    stop: () => (stopped ??= drain()),
  };
}

/**
 * Serves the requests of each connection one after the other. A client may send many at once (pipelining). Answers
 * leave in the order of the requests, so answers of parallel requests would wait in memory for the first one.
 */
export function oneAtATime(handle: RequestListener): RequestListener {
  /** Connections with a running request, and the requests that wait behind it; null if none has waited yet. */
  const busy = new WeakMap<Socket, (() => void)[] | null>();

  const serve = (
    socket: Socket,
    request: IncomingMessage,
    response: ServerResponse & { req: IncomingMessage },
  ): void => {
    response.once('close', () => {
      const waiting = busy.get(socket) ?? null;
      // Requests that wait on a closed connection are dropped, because nobody would get their answers.
      const next = socket.destroyed ? undefined : waiting?.shift();
      if (next !== undefined) return next();
      busy.delete(socket);
      // Reading was paused when requests began to wait.
      if (waiting !== null) socket.resume();
    });
    handle(request, response);
  };

  return (request, response) => {
    const { socket } = request;
    const waiting = busy.get(socket);
    if (waiting === undefined) {
      busy.set(socket, null);
      serve(socket, request, response);
      return;
    }
    const next = (): void => serve(socket, request, response);
    if (waiting === null) busy.set(socket, [next]);
    else waiting.push(next);
    socket.pause();
  };
}
