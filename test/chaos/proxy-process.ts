import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { LinkMode, ProxyReply, ProxyRequest } from './proxy.ts';

/**
 * A process that carries every connection between the processes of a run and the
 * stores, link by link, and disturbs them as it is told. It runs on its own so
 * that the load of the clients does not delay it.
 */
interface Link {
  mode: LinkMode;
  upstreamPort: number;
  lost: number;
  seen: number;
  readonly pairs: Set<Pair>;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly held: { readonly to: Socket; readonly bytes: Buffer }[];
  /** A data packet got lost: TCP passes nothing that comes after it, until it is sent anew. */
  deaf: boolean;
}

const PASS: LinkMode = { kind: 'pass' };
const links = new Map<string, Link>();

process.on('message', (request: ProxyRequest) => {
  void handle(request).then((reply) => process.send?.(reply));
});
process.on('disconnect', () => process.exit());

async function handle(request: ProxyRequest): Promise<ProxyReply> {
  if (request.kind === 'open') return { id: request.id, port: await open(request.link, request.upstreamPort), lost: 0 };
  const link = links.get(request.link) as Link;
  if (request.kind === 'upstream') {
    link.upstreamPort = request.upstreamPort;
    for (const { client, server } of link.pairs) for (const socket of [client, server]) socket.destroy();
  } else if (request.kind === 'mode') {
    setMode(link, request.mode);
  }
  return { id: request.id, port: 0, lost: link.lost };
}

async function open(name: string, upstreamPort: number): Promise<number> {
  const link: Link = { mode: PASS, upstreamPort, lost: 0, seen: 0, pairs: new Set() };
  links.set(name, link);
  const server = createServer((client) => carry(link, client));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function setMode(link: Link, mode: LinkMode): void {
  const before = link.mode;
  link.mode = mode;
  link.seen = 0;
  for (const pair of link.pairs) {
    // Half-open: our side is gone without a word, as after a power cut or a NAT that forgot.
    if (mode.kind === 'half-open') {
      pair.server.destroy();
      pair.deaf = true;
    }
    if (before.kind === 'half-open' && pair.deaf) pair.client.destroy();
    if (mode.kind === 'pass') for (const { to, bytes } of pair.held.splice(0)) to.write(bytes);
  }
}

function carry(link: Link, client: Socket): void {
  const server = connect(link.upstreamPort, '127.0.0.1');
  const pair: Pair = { client, server, held: [], deaf: false };
  link.pairs.add(pair);
  for (const socket of [client, server]) {
    socket.setNoDelay(true);
    socket.on('error', () => {});
  }
  const ended = (): void => {
    if (pair.deaf) return;
    client.destroy();
    server.destroy();
    link.pairs.delete(pair);
  };
  client.on('close', () => {
    pair.deaf = false;
    ended();
  });
  server.on('close', ended);

  let loseNext = false;
  client.on('data', (bytes: Buffer) => {
    const { mode } = link;
    if (mode.kind === 'lose-answers' && mode.texts.some((text) => bytes.includes(text))) {
      if (++link.seen % mode.nth === 0) loseNext = true;
    }
    pass(link, pair, server, bytes, 'to-server');
  });
  server.on('data', (bytes: Buffer) => {
    if (loseNext) {
      link.lost++;
      client.destroy();
      return;
    }
    pass(link, pair, client, bytes, 'to-client');
  });
}

function pass(link: Link, pair: Pair, to: Socket, bytes: Buffer, direction: 'to-server' | 'to-client'): void {
  const { mode } = link;
  const blocked =
    mode.kind === 'cut' || mode.kind === 'half-open' || (mode.kind === 'one-way' && mode.blocked === direction);
  if (blocked || (pair.held.length > 0 && mode.kind !== 'slow')) pair.held.push({ to, bytes });
  else if (mode.kind === 'slow') {
    // A lost packet costs a retransmission, and what comes behind it waits for it.
    const delayMs = mode.latencyMs + (Math.random() < mode.loss ? RETRANSMISSION_MS : 0);
    const dueMs = Math.max(performance.now() + delayMs, dueOf.get(to) ?? 0);
    dueOf.set(to, dueMs);
    setTimeout(() => to.write(bytes), dueMs - performance.now());
  } else to.write(bytes);
}

const dueOf = new WeakMap<Socket, number>();

/** The least time-out of Linux before it sends a packet again. */
const RETRANSMISSION_MS = 200;
