import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { atEndOfFile } from '../harness/end-of-file.ts';

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export const METADATA = '/.well-known/openid-configuration';

/** A server that may answer as no provider does. By default its metadata is right, and everything else is missing. */
export interface HostileProvider {
  readonly issuer: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Answers by path. */
  readonly answers: Map<string, Answer>;
  /** Number of requests for a path. */
  asked(path: string): number;
  /** Bytes that were taken of the latest endless answer. */
  taken(): number;
}

export function json(value: unknown, status = 200): Answer {
  return (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
}

export async function startHostileProvider(): Promise<HostileProvider> {
  const answers = new Map<string, Answer>();
  const asked = new Map<string, number>();
  let taken = 0;
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost');
    asked.set(pathname, (asked.get(pathname) ?? 0) + 1);
    response.on('close', () => (taken = response.socket?.bytesWritten ?? taken));
    (answers.get(pathname) ?? json({}, 404))(request, response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEndOfFile(async () => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const metadata = {
    issuer,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
  };
  answers.set(METADATA, json(metadata));
  return { issuer, metadata, answers, asked: (path) => asked.get(path) ?? 0, taken: () => taken };
}

/** Answers nothing, and keeps the connection. */
export const hang: Answer = () => {};

/** Answers headers and the beginning of a body, and then nothing. */
export const stall: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('{');
};

const GIGABYTE = 2 ** 30;

/** Writes a gigabyte, as fast as the other side takes it. */
export const endless: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': GIGABYTE });
  const chunk = Buffer.alloc(65_536, ' ');
  let written = 0;
  const write = (): void => {
    while (written < GIGABYTE && !response.destroyed) {
      written += chunk.length;
      if (response.write(chunk)) continue;
      response.once('drain', write);
      return;
    }
    response.end();
  };
  write();
};

const BOMB = gzipSync(Buffer.alloc(64 * 2 ** 20, ' '));

/** 64 KiB that become 64 MiB. */
export const bomb: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
  response.end(BOMB);
};

/** An answer that is no JSON. */
export const rubbish: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end('<!doctype html><h1>It works!</h1>');
};

export const page: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'text/html' });
  response.end('<!doctype html><h1>It works!</h1>');
};

export const elsewhere =
  (location: string): Answer =>
  (_, response) => {
    response.writeHead(302, { location });
    response.end();
  };

/** Ends the connection without an answer. */
export const hangUp: Answer = (request) => {
  request.socket.destroy();
};
