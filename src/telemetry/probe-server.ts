import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { createScrapedHosts, hostNameOf } from '../config/allowed-hosts.ts';
import { listen } from '../lifecycle/listen.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from './logger.ts';

/** Serves /metrics, /healthz and /readyz of a process on a port of their own. */
export interface ProbeServer extends Service {
  /** Returns the port on which the server listens; null before the start. */
  port(): number | null;
}

export interface ProbeServerOptions {
  readonly host: string;
  /** 0 selects a free port. */
  readonly port: number;
  /** The setting of the port, for the error if it is in use. */
  readonly setting: 'METRICS_PORT' | 'API_METRICS_PORT';
  readonly registry: Registry;
  /** Further names under which `/metrics` may be read (`ALLOWED_HOSTS`). */
  readonly allowedHosts: readonly string[];
  /** False makes an orchestrator restart the process. It must stay true during an outage of a store. */
  readonly isHealthy: () => boolean;
  readonly isReady: () => boolean;
  readonly log: Logger;
}

export function createProbeServer(options: ProbeServerOptions): ProbeServer {
  const { host, port, setting, registry, isHealthy, isReady, log } = options;
  const isAllowed = createScrapedHosts(options.allowedHosts);

  const answer = async (path: string, name: string | null, response: ServerResponse): Promise<void> => {
    switch (path) {
      case '/metrics':
        // Nobody needs a secret here, so a page that was led to this port under a name of its own could read everything.
        if (name === null || !isAllowed(name)) return misdirected(response);
        response.setHeader('content-type', registry.contentType);
        response.end(await registry.metrics());
        return;
      case '/healthz':
        return probe(response, isHealthy());
      case '/readyz':
        return probe(response, isReady());
      default:
        response.writeHead(404).end();
    }
  };

  const server = createServer((request, response) => {
    // Do not use `URL` here, because it throws for paths such as `//`.
    const [path = ''] = (request.url ?? '').split('?', 1);
    // Every browser names the host. A program that does not (HTTP/1.0) is none.
    const name = hostNameOf(request.headers.host ?? 'localhost');
    answer(path, name, response).catch((error: unknown) => {
      log.error({ err: error }, 'probe failed');
      response.destroy();
    });
  });

  return {
    name: 'probe-server',
    port: () => (server.address() as AddressInfo | null)?.port ?? null,
    async start() {
      await listen(server, { host, port, setting });
      log.info({ port: (server.address() as AddressInfo).port }, 'metrics listening');
    },
    async stop() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      // A scraper keeps its connection open. Do not wait for it.
      server.closeAllConnections();
      await closed;
    },
  };
}

function misdirected(response: ServerResponse): void {
  const text = 'the Host of a request for /metrics has to be an address, a name without a dot, or in ALLOWED_HOSTS\n';
  response.writeHead(421, { 'content-type': 'text/plain' }).end(text);
}

function probe(response: ServerResponse, good: boolean): void {
  response.writeHead(good ? 200 : 503, { 'content-type': 'application/json' }).end(JSON.stringify({ ok: good }));
}
