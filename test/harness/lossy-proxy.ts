import { createServer, connect, type AddressInfo, type Socket } from 'node:net';
import { atEndOfFile } from './end-of-file.ts';

/** A TCP proxy that can lose the answer to a request that the server has carried out. */
export interface LossyProxy {
  /** The URL of the server behind it, with the proxy's port. */
  readonly url: string;
  /** How many answers were lost so far. */
  readonly lost: number;
  /**
   * From now on, the proxy counts the packets from clients that contain one of the texts. At every `nth` one it closes
   * the connection when the answer arrives, before it passes any of the answer on.
   */
  loseAnswersTo(texts: readonly string[], nth: number): void;
  /** Stops forwarding on all current connections, in both directions, without closing them. */
  hangConnections(): void;
  /** Accepts new connections from now on, but forwards nothing on them. */
  hangNewConnections(): void;
  /** Connects new connections to this server from now on; current connections stay as they are. */
  redirect(url: string): void;
  /** Forwards everything again, except on connections that already hang. */
  behave(): void;
}

export async function startLossyProxy(upstreamUrl: string): Promise<LossyProxy> {
  let upstream = new URL(upstreamUrl);
  const sockets = new Set<Socket>();
  let watched: Buffer[] = [];
  let every = 1;
  let seen = 0;
  let lost = 0;
  let hangNew = false;
  const standing = new Set<{ hangs: boolean }>();

  const server = createServer((client) => {
    const target = connect(Number(upstream.port), upstream.hostname);
    let loseNext = false;
    const connection = { hangs: hangNew };
    standing.add(connection);
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        standing.delete(connection);
        client.destroy();
        target.destroy();
      });
    }
    client.on('data', (bytes: Buffer) => {
      if (connection.hangs) return;
      if (watched.some((text) => bytes.includes(text)) && ++seen % every === 0) loseNext = true;
      target.write(bytes);
    });
    target.on('data', (bytes: Buffer) => {
      if (connection.hangs) return;
      if (loseNext) {
        lost++;
        client.destroy();
        return;
      }
      client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEndOfFile(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  const url = new URL(upstreamUrl);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    get lost() {
      return lost;
    },
    loseAnswersTo(texts, nth) {
      watched = texts.map((text) => Buffer.from(text));
      every = nth;
      seen = 0;
    },
    hangConnections() {
      for (const connection of standing) connection.hangs = true;
    },
    hangNewConnections() {
      hangNew = true;
    },
    redirect(to) {
      upstream = new URL(to);
    },
    behave() {
      hangNew = false;
      watched = [];
    },
  };
}
