import { fork } from 'node:child_process';
import { join } from 'node:path';

/** What happens to the bytes of a link. */
export type LinkMode =
  | { readonly kind: 'pass' }
  | { readonly kind: 'slow'; readonly latencyMs: number; readonly loss: number }
  /** Nothing arrives in either direction; connections stay open. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'one-way'; readonly blocked: 'to-server' | 'to-client' }
  /** The server has closed, and the client never hears of it. */
  | { readonly kind: 'half-open' }
  /** Every nth time that one of the texts is sent, the connection breaks when the answer comes. */
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
   * A link may lead to several servers: addresses in their answers (of Cluster's nodes, of
   * the master that Sentinel names) are then made to lead through the link as well.
   * @returns the port to connect to instead
   */
  open(link: string, upstreamPort: number): Promise<number>;
  /** @returns how many answers the link has lost so far */
  setMode(link: string, mode: LinkMode): Promise<number>;
  /**
   * The client's node is gone without a FIN: nothing passes on the link's connections any more, and the
   * server believes in them for `ghostsMs`. New connections pass.
   */
  vanish(link: string, ghostsMs: number): Promise<void>;
  /** All links to a server lead to another one, and their connections break, as in a failover. */
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
