import { fork } from 'node:child_process';
import { join } from 'node:path';

/** How a link treats its bytes. */
export type LinkMode =
  | { readonly kind: 'pass' }
  | { readonly kind: 'slow'; readonly latencyMs: number; readonly loss: number }
  /** Nothing arrives in either direction; connections stay open. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'one-way'; readonly blocked: 'to-server' | 'to-client' }
  /** The server's side is closed, and the client is not told. */
  | { readonly kind: 'half-open' }
  /** Every nth time that a client sends one of the texts, its connection breaks when the answer comes. */
  | { readonly kind: 'lose-answers'; readonly texts: readonly string[]; readonly nth: number };

export type ProxyRequest =
  | { readonly id: number; readonly kind: 'open'; readonly link: string; readonly upstreamPort: number }
  | { readonly id: number; readonly kind: 'mode'; readonly link: string; readonly mode: LinkMode }
  | { readonly id: number; readonly kind: 'vanish'; readonly link: string; readonly ghostsMs: number }
  | { readonly id: number; readonly kind: 'upstream'; readonly fromPort: number; readonly toPort: number };

export interface ProxyReply {
  readonly id: number;
  readonly port: number;
  /** Answers lost on the link so far. */
  readonly lost: number;
}

/** One TCP proxy with a link for each pair of process and store. */
export interface Proxy {
  /**
   * Opens a link to a server. A link may lead to several servers. Then it also replaces the addresses in their answers
   * (of a Cluster's nodes, or of the master from Sentinel), so that those connections use the link too.
   * @returns the port to connect to instead
   */
  open(link: string, upstreamPort: number): Promise<number>;
  /** @returns how many answers the link has lost so far */
  setMode(link: string, mode: LinkMode): Promise<number>;
  /**
   * Simulates that the client's node disappears without a FIN: the link's connections forward nothing any more, but
   * stay open towards the server for `ghostsMs`. New connections work.
   */
  vanish(link: string, ghostsMs: number): Promise<void>;
  /** Redirects all links from one server to another and breaks their connections, as a failover does. */
  setUpstream(fromPort: number, toPort: number): Promise<void>;
  close(): void;
}

export function startProxy(): Proxy {
  const child = fork(join(import.meta.dirname, 'proxy-process.ts'), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const waiting = new Map<number, (reply: ProxyReply) => void>();
  let count = 0;
  child.on('message', (reply: ProxyReply) => {
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });
  const ask = (request: Omit<ProxyRequest, 'id'>): Promise<ProxyReply> => {
    const id = ++count;
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      child.send({ ...request, id });
    });
  };
  return {
    async open(link, upstreamPort) {
      return (await ask({ kind: 'open', link, upstreamPort } as Omit<ProxyRequest, 'id'>)).port;
    },
    async setMode(link, mode) {
      return (await ask({ kind: 'mode', link, mode } as Omit<ProxyRequest, 'id'>)).lost;
    },
    async vanish(link, ghostsMs) {
      await ask({ kind: 'vanish', link, ghostsMs } as Omit<ProxyRequest, 'id'>);
    },
    async setUpstream(fromPort, toPort) {
      await ask({ kind: 'upstream', fromPort, toPort } as Omit<ProxyRequest, 'id'>);
    },
    close() {
      child.disconnect();
    },
  };
}
