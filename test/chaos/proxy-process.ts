import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { LinkMode, ProxyReply, ProxyRequest } from './proxy.ts';

/**
 * A process that forwards all connections between the processes of a run and the stores, link by link, and disturbs
 * them on request. It is a separate process, so that the load of the clients does not delay it.
 */
interface Link {
  mode: LinkMode;
  lost: number;
  seen: number;
  readonly routes: Route[];
  readonly pairs: Set<Pair>;
}

/** A server of a link. */
interface Route {
  /** Port to which the client connects. */
  readonly port: number;
  upstreamPort: number;
}

interface Pair {
  readonly route: Route;
  readonly client: Socket;
  readonly server: Socket;
  /** Bytes that have not been forwarded yet, in the order in which they came. */
  readonly held: Held[];
  timer: NodeJS.Timeout | null;
  /** The server's side is closed, but the client does not know. */
  deaf: boolean;
  /** The client's side is gone, but the server does not know. */
  ghost: boolean;
}

type Direction = 'to-server' | 'to-client';

interface Held {
  readonly to: Socket;
  readonly direction: Direction;
  readonly bytes: Buffer;
  readonly dueMs: number;
}

const PASS: LinkMode = { kind: 'pass' };
const links = new Map<string, Link>();

process.on('message', (request: ProxyRequest) => {
  void handle(request).then((reply) => process.send?.(reply));
});
process.on('disconnect', () => process.exit());

async function handle(request: ProxyRequest): Promise<ProxyReply> {
  if (request.kind === 'open') return { id: request.id, port: await open(request.link, request.upstreamPort), lost: 0 };
  if (request.kind === 'upstream') {
    setUpstream(request.fromPort, request.toPort);
    return { id: request.id, port: 0, lost: 0 };
  }
  const link = links.get(request.link) as Link;
  if (request.kind === 'mode') setMode(link, request.mode);
  else vanish(link, request.ghostsMs);
  return { id: request.id, port: 0, lost: link.lost };
}

async function open(name: string, upstreamPort: number): Promise<number> {
  const link: Link = links.get(name) ?? { mode: PASS, lost: 0, seen: 0, routes: [], pairs: new Set() };
  links.set(name, link);
  const server = createServer((client) => carry(link, route, client));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const route: Route = { port: (server.address() as AddressInfo).port, upstreamPort };
  link.routes.push(route);
  return route.port;
}

function setUpstream(fromPort: number, toPort: number): void {
  for (const { routes, pairs } of links.values()) {
    const moved = routes.filter(({ upstreamPort }) => upstreamPort === fromPort);
    for (const route of moved) route.upstreamPort = toPort;
    for (const { route, client, server } of pairs)
      if (moved.includes(route)) for (const socket of [client, server]) socket.destroy();
  }
}

function vanish({ pairs }: Link, ghostsMs: number): void {
  const ghosts = [...pairs];
  for (const pair of ghosts) {
    pair.ghost = true;
    pair.held.length = 0;
  }
  setTimeout(() => ghosts.forEach(({ server }) => server.destroy()), ghostsMs);
}

function setMode(link: Link, mode: LinkMode): void {
  const before = link.mode;
  link.mode = mode;
  link.seen = 0;
  for (const pair of link.pairs) {
    // Close the server's side without telling the client, as after a power cut or when a NAT drops the connection.
    if (mode.kind === 'half-open') {
      pair.server.destroy();
      pair.deaf = true;
    }
    if (before.kind === 'half-open' && pair.deaf) pair.client.destroy();
    flush(link, pair);
  }
}

function carry(link: Link, route: Route, client: Socket): void {
  const server = connect(route.upstreamPort, '127.0.0.1');
  const pair: Pair = { route, client, server, held: [], timer: null, deaf: false, ghost: false };
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
    if (!pair.ghost) ended();
  });
  server.on('close', ended);

  let loseNext = false;
  client.on('data', (bytes: Buffer) => {
    if (pair.ghost) return;
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
    if (!pair.ghost) pass(link, pair, client, throughLink(link, bytes), 'to-client');
  });
}

const HOST = Buffer.from('127.0.0.1');

/** Replaces the servers' ports in an answer by the link's ports. All have five digits, so lengths stay the same. */
function throughLink({ routes }: Link, bytes: Buffer): Buffer {
  if (routes.length < 2 || !bytes.includes(HOST)) return bytes;
  let text = bytes.toString('latin1');
  for (const { port, upstreamPort } of routes) text = text.replaceAll(String(upstreamPort), String(port));
  return Buffer.from(text, 'latin1');
}

function pass(link: Link, pair: Pair, to: Socket, bytes: Buffer, direction: Direction): void {
  pair.held.push({ to, direction, bytes, dueMs: performance.now() + delayOf(link.mode) });
  flush(link, pair);
}

/** Forwards what is due, in the order in which it came, because TCP never reorders bytes. */
function flush(link: Link, pair: Pair): void {
  const blocked = new Set<Direction>();
  const rest: Held[] = [];
  let nextMs = Infinity;
  for (const held of pair.held) {
    const late = held.dueMs > performance.now();
    if (late) nextMs = Math.min(nextMs, held.dueMs);
    if (late || blocked.has(held.direction) || isBlocked(link.mode, held.direction)) {
      blocked.add(held.direction);
      rest.push(held);
    } else held.to.write(held.bytes);
  }
  pair.held.splice(0, Infinity, ...rest);
  if (nextMs < Infinity && pair.timer === null) {
    pair.timer = setTimeout(
      () => {
        pair.timer = null;
        flush(link, pair);
      },
      Math.ceil(nextMs - performance.now()),
    );
  }
}

function isBlocked(mode: LinkMode, direction: Direction): boolean {
  return mode.kind === 'cut' || mode.kind === 'half-open' || (mode.kind === 'one-way' && mode.blocked === direction);
}

/** Returns the delay of a packet. A lost packet costs a retransmission, and later packets wait for it. */
function delayOf(mode: LinkMode): number {
  if (mode.kind !== 'slow') return 0;
  return mode.latencyMs + (Math.random() < mode.loss ? RETRANSMISSION_MS : 0);
}

/** The shortest time after which Linux sends a lost packet again. */
const RETRANSMISSION_MS = 200;
