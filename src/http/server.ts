import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { API_KEEP_ALIVE_MS, API_REQUEST_ARRIVAL_MS } from '../config/timings.ts';
import { listen } from '../lifecycle/listen.ts';
import { pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import { answerClientError } from './client-error.ts';
import type { ReadinessSwitch } from './readiness.ts';

export interface ApiServer extends Service {
  /** Null before the start. */
  address(): AddressInfo | null;
}

export interface ApiServerOptions {
  readonly handle: RequestListener;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly readiness: ReadinessSwitch;
  /** Milliseconds that it serves on, unready, before it stops listening. */
  readonly delayMs: number;
  /** Milliseconds that requests may take after that. */
  readonly graceMs: number;
  readonly log: Logger;
}

/** Listens, and in the end lets every request that it has taken finish. */
export function createApiServer(options: ApiServerOptions): ApiServer {
  const { handle, host, port, readiness, delayMs, graceMs, log } = options;
  const inTurn = oneAtATime(handle);
  const server = createServer({ keepAliveTimeout: API_KEEP_ALIVE_MS, requestTimeout: API_REQUEST_ARRIVAL_MS }, inTurn);
  // Who reads the body asks for it; who refuses the request does not.
  server.on('checkContinue', inTurn);
  server.on('clientError', answerClientError);
  let stopped: Promise<void> | undefined;

  const drain = async (): Promise<void> => {
    readiness.drain();
    if (!server.listening) return;
    // Whoever sends requests here needs time to notice that it is unready.
    await pause(delayMs, new AbortController().signal);
    const closed = once(server, 'close');
    server.close();
    const cut = setTimeout(() => {
      log.warn('requests did not finish in time and are cut off');
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
 * Serves the requests of one connection one after the other. A client may send many at once (pipelining); their answers
 * leave in order, so that those which are ready would wait in memory for the first.
 */
export function oneAtATime(handle: RequestListener): RequestListener {
  /** Connections that are busy with a request, and what waits behind it; null where nothing has yet. */
  const busy = new WeakMap<Socket, (() => void)[] | null>();

  const serve = (
    socket: Socket,
    request: IncomingMessage,
    response: ServerResponse & { req: IncomingMessage },
  ): void => {
    response.once('close', () => {
      const waiting = busy.get(socket) ?? null;
      // What waits behind a connection that is gone has nobody to answer to.
      const next = socket.destroyed ? undefined : waiting?.shift();
      if (next !== undefined) return next();
      busy.delete(socket);
      // Reading was stopped while requests waited.
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
