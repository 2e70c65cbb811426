import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
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
  const server = createServer({ keepAliveTimeout: API_KEEP_ALIVE_MS, requestTimeout: API_REQUEST_ARRIVAL_MS }, handle);
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
