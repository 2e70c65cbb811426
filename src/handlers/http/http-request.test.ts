import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createPlainServer, type AddressInfo, type Server as NetServer, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { fakeHandlerContext, fakeTask } from '../../../test/fake-handler-context.ts';
import { selfSignedCertificate } from '../../../test/self-signed-certificate.ts';
import type { HttpTarget } from '../../config/http-targets.ts';
import { networkOf } from '../../config/networks.ts';
import { AttemptAbortedError, FinalError, RetryableError } from '../../core/errors.ts';
import { recordError } from '../../core/recorded-error.ts';
import type { StartedTask } from '../../core/task.ts';
import { resultOf } from '../../engine/attempts/attempt-result.ts';
import { createHttpRequest, type HttpRequestOptions } from './http-request.ts';
import { createHttpSecrets } from './http-secrets.ts';
import { refusedAddresses } from './refused-addresses.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Target {
  readonly port: number;
  readonly sockets: Socket[];
  /** Resolves when every connection made so far is closed. */
  idle(): Promise<unknown>;
}

async function listen(server: NetServer): Promise<Target> {
  const sockets: Socket[] = [];
  server.on('connection', (socket) => {
    // A client that closes in the middle of a request resets the connection.
    socket.on('error', () => {});
    sockets.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const closed = (socket: Socket): Promise<void> =>
    new Promise((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())));
  const idle = (): Promise<unknown> => Promise.all(sockets.map(closed));
  return { port: (server.address() as AddressInfo).port, sockets, idle };
}

const serve = (listener: RequestListener): Promise<Target> => listen(createServer(listener));

interface Received {
  readonly request: IncomingMessage;
  readonly body: string;
}

/** Starts a server that gives every request the same response and records what it received. */
async function answering(
  status: number,
  headers: Record<string, string> = {},
  body = '',
): Promise<Target & { received: Received[] }> {
  const received: Received[] = [];
  const target = await serve((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ request, body: Buffer.concat(chunks).toString() });
      response.writeHead(status, headers).end(body);
    });
  });
  return { ...target, received };
}

const EVERYWHERE: readonly HttpTarget[] = [{ scheme: null, host: '*', port: null }];

function httpRequest(options: Partial<HttpRequestOptions> & { allowed?: string[] } = {}) {
  const { allowed = ['127.0.0.1/32'], ...rest } = options;
  const handler = createHttpRequest({
    refused: refusedAddresses(allowed.map(networkOf)),
    targets: EVERYWHERE,
    secrets: createHttpSecrets(''),
    signingSecrets: [],
    responseMaxBytes: 1_000,
    ...rest,
  });
  cleanups.push(() => handler.close());
  return {
    close: () => handler.close(),
    send: async (payload: unknown, task: Partial<StartedTask> = {}, signal?: AbortSignal) =>
      handler.handle(fakeHandlerContext(payload, task, signal)),
  };
}

/** Returns the error with which a promise rejects. */
async function failure(work: Promise<unknown>): Promise<FinalError | RetryableError> {
  const value = await work.then(
    (result) => new Error(`expected a failure, got ${JSON.stringify(result)}`),
    (error: unknown) => error,
  );
  if (value instanceof FinalError || value instanceof RetryableError) return value;
  throw value;
}

describe('a request', () => {
  it('is a GET without a body, sends the token and the trace, and keeps the response', async () => {
    const target = await answering(200, { 'content-type': 'text/plain', 'set-cookie': 'a=b' }, 'hello');
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const result = await httpRequest().send(
      { action: 'http.request', url: `http://127.0.0.1:${target.port}/x?y=1` },
      { traceparent },
    );

    const { request, body } = target.received[0] as Received;
    expect([request.method, request.url, body]).toEqual(['GET', '/x?y=1', '']);
    expect(request.headers).toMatchObject({
      host: `127.0.0.1:${target.port}`,
      'x-task-attempt-token': `${fakeTask.id}:1`,
      'x-trace-id': 'trace-1',
      traceparent,
    });
    expect(result).toEqual({
      status: 200,
      headers: { 'content-type': 'text/plain', date: expect.any(String) },
      body: 'hello',
      truncated: false,
    });
  });

  it.each([
    [{ a: [1, null] }, '{"a":[1,null]}', 'application/json'],
    [null, 'null', 'application/json'],
    ['plain', 'plain', undefined],
  ])('is a POST with the body %j', async (given, body, contentType) => {
    const target = await answering(204);
    await httpRequest().send({ url: `http://127.0.0.1:${target.port}`, body: given });
    expect(target.received[0]?.request.method).toBe('POST');
    expect(target.received[0]?.request.headers['content-type']).toBe(contentType);
    expect(target.received[0]?.body).toBe(body);
    expect(target.received[0]?.request.headers).not.toHaveProperty('traceparent');
  });

  it('uses method and headers from the payload', async () => {
    const target = await answering(200);
    const headers = { 'Content-Type': 'application/vnd.x+json', Authorization: 'Bearer t' };
    await httpRequest().send({ url: `http://u:p@127.0.0.1:${target.port}`, method: 'PUT', headers, body: {} });
    expect(target.received[0]?.request.method).toBe('PUT');
    expect(target.received[0]?.request.headers).toMatchObject({
      'content-type': 'application/vnd.x+json',
      authorization: 'Bearer t',
    });
  });

  it.each(['DELETE', 'OPTIONS', 'PUT', 'PATCH'])('sends the body of a %s', async (method) => {
    const target = await answering(200);
    const { send } = httpRequest();
    for (const body of ['grüße', 'second']) await send({ url: `http://127.0.0.1:${target.port}`, method, body });
    expect(target.received.map(({ body }) => body)).toEqual(['grüße', 'second']);
    expect(target.received[0]?.request.headers).toMatchObject({ 'content-length': '7' });
  });

  it('keeps the bytes of a Latin-1 header if there is a body', async () => {
    const target = await answering(200);
    await httpRequest().send({
      url: `http://127.0.0.1:${target.port}`,
      headers: { 'x-name': 'J\u00fcrgen' },
      body: 'ü',
    });
    expect(target.received[0]?.request.headers['x-name']).toBe('J\u00fcrgen');
    expect(target.received[0]?.body).toBe('ü');
  });

  it.each(['HEAD', 'DELETE', 'OPTIONS', 'PATCH'])('can be a %s', async (method) => {
    const target = await answering(200);
    await expect(httpRequest().send({ url: `http://127.0.0.1:${target.port}`, method })).resolves.toMatchObject({
      status: 200,
      body: '',
    });
    expect(target.received[0]?.request.method).toBe(method);
  });

  it.each([
    [null, 'payload: '],
    [{}, 'payload.url: '],
    [{ url: '/relative' }, 'payload.url: expected an absolute http or https URL'],
    [{ url: 'file:///etc/passwd' }, 'payload.url: '],
    [{ url: 'http://a.example', method: 'get' }, 'payload.method: '],
    [{ url: 'http://a.example', method: 'CONNECT' }, 'payload.method: '],
    [{ url: 'http://a.example', retries: 1 }, 'payload: Unrecognized key: "retries"'],
    [{ url: 'http://a.example', method: 'GET', body: 'x' }, 'payload.body: '],
    [{ url: 'http://a.example', timeout: 0 }, 'payload.timeout: '],
    [{ url: 'http://a.example', headers: { HOST: 'b' } }, 'payload.headers.HOST: '],
    [{ url: 'http://a.example', headers: { 'Content-Length': '1' } }, 'payload.headers.Content-Length: '],
    [{ url: 'http://a.example', headers: { Connection: 'close' } }, 'payload.headers.Connection: '],
    [{ url: 'http://a.example', headers: { 'X-Task-Attempt-Token': 'x:1' } }, 'payload.headers.X-Task-Attempt-Token: '],
    [{ url: 'http://a.example', headers: { 'a b': '1' } }, 'payload.headers.a b: '],
    [{ url: 'http://a.example', headers: { a: '1\r\nb: 2' } }, 'payload.headers.a: '],
    [{ url: 'http://a.example', headers: { a: '1', A: '2' } }, 'payload.headers.A: is given twice'],
  ])('is refused without retries for the payload %j', async (payload, message) => {
    const error = await failure(httpRequest().send(payload));
    expect(error).toBeInstanceOf(FinalError);
    expect(error.code).toBe('invalid_payload');
    expect(error.message).toContain(message);
  });
});

describe('an answer', () => {
  it.each([408, 429, 500, 502, 503, 599])('%i is retried, at the time of Retry-After', async (status) => {
    const target = await answering(status, { 'retry-after': '7' }, 'busy');
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toBeInstanceOf(RetryableError);
    expect(error).toMatchObject({
      code: `http_status_${status}`,
      retryAfterMs: 7_000,
      message: expect.stringContaining(`answered ${status}`),
    });
    expect(resultOf(error)).toMatchObject({ status, body: 'busy' });
  });

  it('is retried after the backoff without Retry-After; a date is converted to a delay from now', async () => {
    const nowMs = Date.parse('2026-11-20T12:00:00Z');
    const none = await answering(503);
    const date = await answering(503, { 'retry-after': 'Fri, 20 Nov 2026 12:00:30 GMT' });
    const { send } = httpRequest({ clock: { nowMs: () => nowMs } });
    expect(await failure(send({ url: `http://127.0.0.1:${none.port}` }))).toMatchObject({ retryAfterMs: undefined });
    expect(await failure(send({ url: `http://127.0.0.1:${date.port}` }))).toMatchObject({ retryAfterMs: 30_000 });
  });

  it.each(['0', 'Thu, 01 Jan 1970 00:00:00 GMT'])('with Retry-After %j asks for a delay of 0', async (after) => {
    const target = await answering(429, { 'retry-after': after });
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toMatchObject({ code: 'http_status_429', retryAfterMs: 0 });
  });

  it.each([400, 401, 404, 410, 422])('%i is final', async (status) => {
    const target = await answering(status, {}, 'no');
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toBeInstanceOf(FinalError);
    expect(error.code).toBe(`http_status_${status}`);
    expect(resultOf(error)).toMatchObject({ status, body: 'no' });
  });

  it.each([301, 302, 307, 308])('%i is final, and the redirect is not followed', async (status) => {
    const elsewhere = await answering(200);
    const target = await answering(status, { location: `http://127.0.0.1:${elsewhere.port}/` });
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toBeInstanceOf(FinalError);
    expect(error.message).toContain('redirects are not followed');
    expect(elsewhere.received).toEqual([]);
  });

  it('is kept up to the limit, and the rest is not downloaded', async () => {
    const target = await serve((_, response) => {
      // The body never ends, so only the client can end it.
      const write = (): void => {
        while (!response.closed && response.write('x'.repeat(16_384)));
      };
      response.on('drain', write);
      write();
    });
    const result = await httpRequest({ responseMaxBytes: 10 }).send({ url: `http://127.0.0.1:${target.port}` });
    expect(result).toMatchObject({ body: 'xxxxxxxxxx', truncated: true });
    await target.idle();
  });

  it('that breaks off is retried if it was 2xx; otherwise its status decides', async () => {
    const target = await serve((request, response) => {
      response.writeHead(Number(request.url?.slice(1)), { 'content-length': '100' });
      response.write('half', () => response.destroy());
    });
    const { send } = httpRequest();
    expect(await failure(send({ url: `http://127.0.0.1:${target.port}/200` }))).toMatchObject({
      code: 'http_unreachable',
      retryable: true,
    });
    const notFound = await failure(send({ url: `http://127.0.0.1:${target.port}/404` }));
    expect(notFound).toMatchObject({ code: 'http_status_404', retryable: false });
    expect(resultOf(notFound)).toMatchObject({ body: 'half', truncated: true });
  });

  /** Starts a server that writes these bytes for every request when all of its headers have arrived. */
  const writing = (...parts: string[]): Promise<Target & { requests: () => number }> => {
    let requests = 0;
    return listen(
      createPlainServer((socket) => {
        socket.on('data', (data) => {
          if (!data.includes('\r\n\r\n')) return;
          requests++;
          for (const part of parts) socket.write(part, 'latin1');
        });
      }),
    ).then((target) => ({ ...target, requests: () => requests }));
  };

  const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
  const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n';

  it.each([
    ['100 Continue', [CONTINUE]],
    ['102 Processing', ['HTTP/1.1 102 Processing\r\n\r\n']],
    ['103 Early Hints', [HINTS]],
    ['several of them', [CONTINUE, HINTS, HINTS, CONTINUE]],
    ['a hundred of them', Array.from({ length: 100 }, () => HINTS)],
    ['one without a reason', ['HTTP/1.1 100 \r\n\r\n']],
  ])('completes after an unexpected interim response: %s', async (_, interim) => {
    const target = await writing(...interim, OK);
    const { send } = httpRequest();
    for (const method of ['POST', 'GET', 'POST']) {
      await expect(send({ url: `http://127.0.0.1:${target.port}`, method })).resolves.toMatchObject({
        status: 200,
        body: 'ok',
      });
    }
    expect([target.requests(), target.sockets.length]).toEqual([3, 1]);
  });

  it('completes if it has the headers of a hundred cookies, and the request is sent once', async () => {
    const cookies = Array.from({ length: 100 }, (__, i) => `Set-Cookie: c${i}=${'v'.repeat(2_000)}\r\n`).join('');
    const target = await writing(OK.replace('Content-Length', `${cookies}X-Request-Id: r-1\r\nContent-Length`));
    await expect(httpRequest().send({ url: `http://127.0.0.1:${target.port}`, body: 'x' })).resolves.toMatchObject({
      status: 200,
      headers: { 'content-length': '2', 'x-request-id': 'r-1' },
      body: 'ok',
    });
    expect(target.requests()).toBe(1);
  });

  it('must not have endless headers', async () => {
    const target = await writing('HTTP/1.1 200 OK\r\n', `X-Long: ${'x'.repeat(1_100_000)}\r\n\r\n`);
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toMatchObject({ code: 'http_unreachable', retryable: true });
    expect(error.message).toContain('Header overflow');
    await target.idle();
  });

  it('completes even if it offers another protocol, as many servers do', async () => {
    const target = await writing(
      OK.replace('Content-Length', 'Upgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length'),
    );
    await expect(httpRequest().send({ url: `http://127.0.0.1:${target.port}` })).resolves.toMatchObject({ body: 'ok' });
  });

  it('that switches to another protocol is retried', async () => {
    const target = await writing('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toMatchObject({ code: 'http_unreachable', retryable: true });
    await target.idle();
  });

  it('counts even if it comes before the request was read', async () => {
    const target = await listen(
      createPlainServer((socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno')),
    );
    const body = 'x'.repeat(200_000);
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}`, body }));
    expect(error).toMatchObject({ code: 'http_status_401' });
  });

  it('may take hours: only the time limit of the task ends it', async () => {
    const arrived = Promise.withResolvers<ServerResponse>();
    const target = await serve((_, response) => arrived.resolve(response));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    cleanups.push(() => vi.useRealTimers());
    const work = httpRequest().send({ url: `http://127.0.0.1:${target.port}` }, { timeoutMs: 7 * 86_400_000 });
    const response = await arrived.promise;
    vi.advanceTimersByTime(10 * 3_600_000);
    response.writeHead(200).write('slow');
    vi.advanceTimersByTime(10 * 3_600_000);
    response.end(' end');
    await expect(work).resolves.toMatchObject({ status: 200, body: 'slow end' });
  });

  it('that is not HTTP is retried, without its bytes in the error', async () => {
    const target = await listen(createPlainServer((socket) => socket.end('secret bytes\r\n\r\n')));
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toMatchObject({ code: 'http_unreachable', retryable: true });
    expect(JSON.stringify(pino.stdSerializers.err(error))).not.toContain('secret');
  });
});

describe('a target that cannot be reached', () => {
  it('is retried', async () => {
    const target = await answering(200);
    for (const cleanup of cleanups.splice(0)) await cleanup();
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }));
    expect(error).toMatchObject({
      code: 'http_unreachable',
      retryable: true,
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it.each<[string, RequestListener]>([
    ['headers', () => {}],
    ['a body', (_, response) => response.writeHead(200).write('x')],
  ])('has the time limit of the payload for %s', async (_, listener) => {
    const target = await serve(listener);
    const error = await failure(httpRequest().send({ url: `http://127.0.0.1:${target.port}`, timeout: 0.05 }));
    expect(error).toMatchObject({
      code: 'http_timed_out',
      retryable: true,
      message: expect.stringContaining('longer than 0.05 s'),
    });
    await target.idle();
  });

  it('has a separate time limit to connect', async () => {
    const silent = await listen(createPlainServer((socket) => socket.resume()));
    const error = await failure(
      httpRequest({ connectTimeoutMs: 50 }).send({ url: `https://127.0.0.1:${silent.port}` }),
    );
    expect(error).toMatchObject({ code: 'http_timed_out', retryable: true });
    await silent.idle();
  });
});

describe('the signal', () => {
  const reason = new AttemptAbortedError('cancelled', 'the task was cancelled');

  it.each<[string, RequestListener]>([
    ['before the answer', () => {}],
    ['within the body', (_, response) => response.writeHead(200).write('x')],
  ])('ends a request %s, with its reason', async (_, listener) => {
    const controller = new AbortController();
    const target = await serve((request, response) => {
      listener(request, response);
      controller.abort(reason);
    });
    await expect(httpRequest().send({ url: `http://127.0.0.1:${target.port}` }, {}, controller.signal)).rejects.toBe(
      reason,
    );
    await target.idle();
  });

  it('ends a request that is still connecting', async () => {
    const controller = new AbortController();
    const silent = await listen(createPlainServer(() => controller.abort(reason)));
    await expect(httpRequest().send({ url: `https://127.0.0.1:${silent.port}` }, {}, controller.signal)).rejects.toBe(
      reason,
    );
  });

  it('prevents the request if it has already fired', async () => {
    const target = await answering(200);
    await expect(
      httpRequest().send({ url: `http://127.0.0.1:${target.port}` }, {}, AbortSignal.abort(reason)),
    ).rejects.toBe(reason);
    expect(target.sockets).toEqual([]);
  });
});

describe('addresses', () => {
  const spellings = ['127.0.0.1', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1', '0177.0.0.1', 'localhost'];

  it.each(['http', 'https'])(
    'that are not public are refused without retries in every spelling, over %s',
    async (scheme) => {
      const target = await answering(200);
      const { send } = httpRequest({ allowed: [] });
      for (const host of [...spellings, '127.0.0.2', '[::1]', '0.0.0.0', '[::]']) {
        const error = await failure(send({ url: `${scheme}://${host}:${target.port}` }));
        expect(error, host).toBeInstanceOf(FinalError);
        expect(error.code, host).toBe('address_refused');
      }
      expect(target.sockets).toEqual([]);
    },
  );

  it('of an allowed network are reached in every spelling; their neighbours are not', async () => {
    const target = await answering(200);
    const { send } = httpRequest({ allowed: ['127.0.0.1/32'] });
    for (const host of spellings) {
      await expect(send({ url: `http://${host}:${target.port}` }), host).resolves.toMatchObject({ status: 200 });
    }
    for (const host of ['127.0.0.2', '[::ffff:127.0.0.2]', '2130706434', '0x7f.2']) {
      expect((await failure(send({ url: `http://${host}:${target.port}` }))).code, host).toBe('address_refused');
    }
    expect(target.received).toHaveLength(spellings.length);
  });

  it('of an allowed network are reached over https, and their certificates are checked', async () => {
    const { key, cert } = selfSignedCertificate();
    const target = await listen(createSecureServer({ key, cert }, (_, response) => response.end('secure')));
    const url = `https://127.0.0.1:${target.port}`;
    await expect(httpRequest({ ca: cert }).send({ url })).resolves.toMatchObject({ status: 200, body: 'secure' });
    await expect(httpRequest({ ca: cert }).send({ url: `https://localhost:${target.port}` })).resolves.toMatchObject({
      status: 200,
    });
    expect(await failure(httpRequest().send({ url }))).toMatchObject({ code: 'http_unreachable', retryable: true });
    expect((await failure(httpRequest({ ca: cert }).send({ url: `https://127.0.0.2:${target.port}` }))).code).toBe(
      'address_refused',
    );
  });
});

describe('secrets', () => {
  it('in the URL are sent as basic authorization and appear nowhere else', async () => {
    const target = await answering(500, {}, 'body-secret');
    const error = await failure(
      httpRequest().send({ url: `http://us%40er:pass-secret@127.0.0.1:${target.port}/path-secret?key=query-secret` }),
    );
    expect(target.received[0]?.request.headers.authorization).toBe(
      `Basic ${Buffer.from('us@er:pass-secret').toString('base64')}`,
    );
    expect(JSON.stringify([recordError(error), pino.stdSerializers.err(error), Object.entries(error)])).not.toMatch(
      /secret|us@er|us%40er/,
    );
  });
});

describe('close', () => {
  it('closes all sockets, plain and secure, and may be called twice', async () => {
    const { key, cert } = selfSignedCertificate();
    const plain = await answering(200);
    const secure = await listen(createSecureServer({ key, cert }, (_, response) => response.end()));
    const { send, close } = httpRequest({ ca: cert });
    await send({ url: `http://127.0.0.1:${plain.port}` });
    await send({ url: `https://127.0.0.1:${secure.port}` });
    expect([...plain.sockets, ...secure.sockets].map((socket) => socket.closed)).toEqual([false, false]);
    await close();
    await close();
    await Promise.all([plain.idle(), secure.idle()]);
  });

  it('ends a request in progress', async () => {
    const arrived = Promise.withResolvers<void>();
    const target = await serve(() => arrived.resolve());
    const { send, close } = httpRequest();
    const work = failure(send({ url: `http://127.0.0.1:${target.port}` }));
    await arrived.promise;
    await close();
    expect(await work).toMatchObject({ code: 'http_unreachable', retryable: true });
    await target.idle();
  });

  it('ends a connection that is being opened', async () => {
    const arrived = Promise.withResolvers<void>();
    const silent = await listen(createPlainServer((socket) => arrived.resolve(void socket.resume())));
    const { send, close } = httpRequest();
    const work = failure(send({ url: `https://127.0.0.1:${silent.port}` }));
    await arrived.promise;
    await close();
    expect(await work).toMatchObject({ code: 'http_unreachable', retryable: true });
    await silent.idle();
  });
});
