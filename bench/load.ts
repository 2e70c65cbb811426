import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { nowUs } from './note.ts';

/** HTTP/1.1 requests on keep-alive connections. The client is written by hand to cost less than the server. */
export interface HttpLoad {
  readonly url: URL;
  readonly path: string;
  readonly connections: number;
  /** Number of the first request; 0 if missing. */
  readonly from?: number;
  /** Returns the JSON body of the request with this number. */
  readonly body: (n: number) => string;
}

export interface HttpResult {
  readonly requests: number;
  readonly seconds: number;
  /** Milliseconds that each request took. */
  readonly latenciesMs: readonly number[];
}

export interface PacedResult extends HttpResult {
  /** For each request, in the order of their numbers: when it was due, on the clock of `nowUs`. */
  readonly dueUs: readonly number[];
}

interface Connection {
  /** Sends a request and resolves when the answer has arrived. @throws unless the status is 200 */
  exchange(body: string): Promise<void>;
  close(): void;
}

/** Sends requests as fast as possible: each connection sends the next one as soon as it has an answer. */
export async function saturate(load: HttpLoad, seconds: number): Promise<HttpResult> {
  const connections = await openAll(load);
  const latenciesMs: number[] = [];
  const startMs = performance.now();
  const untilMs = startMs + seconds * 1_000;
  let next = load.from ?? 0;
  await Promise.all(
    connections.map(async (connection) => {
      for (let sentMs = performance.now(); sentMs < untilMs;) {
        await connection.exchange(load.body(next++));
        const now = performance.now();
        latenciesMs.push(now - sentMs);
        sentMs = now;
      }
    }),
  );
  const took = (performance.now() - startMs) / 1_000;
  for (const connection of connections) connection.close();
  return { requests: latenciesMs.length, seconds: took, latenciesMs };
}

/**
 * Sends requests at a fixed rate, however slow the answers are. A latency counts from the time at which the request was
 * due, so that it includes the wait for a free connection.
 */
export async function paced(load: HttpLoad, perSecond: number, seconds: number): Promise<PacedResult> {
  const connections = await openAll(load);
  const latenciesMs: number[] = [];
  const from = load.from ?? 0;
  const idle = [...connections];
  const startMs = performance.now();
  const startUs = nowUs();
  const total = Math.floor(perSecond * seconds);
  const dueAfterMs = (i: number): number => (i / perSecond) * 1_000;
  let due = 0;
  let sent = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();

  const exchange = async (connection: Connection, i: number): Promise<void> => {
    await connection.exchange(load.body(from + i));
    latenciesMs.push(performance.now() - startMs - dueAfterMs(i));
    idle.push(connection);
    if (latenciesMs.length === total) resolve();
    else send();
  };
  const send = (): void => {
    for (; sent < due && idle.length > 0; sent++) exchange(idle.pop() as Connection, sent).catch(reject);
  };
  const timer = setInterval(() => {
    due = Math.min(total, Math.floor(((performance.now() - startMs) / 1_000) * perSecond));
    send();
  }, 1);
  await promise.finally(() => clearInterval(timer));
  const took = (performance.now() - startMs) / 1_000;
  for (const connection of connections) connection.close();
  const dueUs = Array.from({ length: total }, (_, i) => startUs + dueAfterMs(i) * 1_000);
  return { requests: total, seconds: took, latenciesMs, dueUs };
}

function openAll(load: HttpLoad): Promise<Connection[]> {
  return Promise.all(Array.from({ length: load.connections }, () => open(load)));
}

async function open({ url, path }: HttpLoad): Promise<Connection> {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  await once(socket, 'connect');
  const head = `POST ${path} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\ncontent-length: `;
  const answers = readAnswers(socket);
  return {
    exchange(body) {
      socket.write(`${head}${Buffer.byteLength(body)}\r\n\r\n${body}`);
      return answers.next();
    },
    close: () => socket.destroy(),
  };
}

function readAnswers(socket: Socket): { next(): Promise<void> } {
  let received = '';
  let waiting: PromiseWithResolvers<void> | undefined;
  const fail = (error: Error): void => waiting?.reject(error);
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection was closed')));
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
    const headEnd = received.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(received)?.[1]);
    if (received.length < headEnd + 4 + length) return;
    const status = received.slice(9, 12);
    const done = waiting;
    waiting = undefined;
    if (status === '200') done?.resolve();
    else done?.reject(new Error(`answered ${status}: ${received.slice(headEnd + 4, headEnd + 500)}`));
    received = '';
  });
  return {
    next() {
      waiting = Promise.withResolvers<void>();
      return waiting.promise;
    },
  };
}
