import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { createReadiness } from './readiness.ts';
import { createApiServer, type ApiServer } from './server.ts';

const log = pino({ level: 'silent' });
const running: ApiServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function start(handle: RequestListener, options: { port?: number; delayMs?: number; graceMs?: number } = {}) {
  const readiness = createReadiness({ problem: () => null, isRefused: () => false });
  const server = createApiServer({
    handle,
    host: '127.0.0.1',
    port: 0,
    readiness,
    delayMs: 0,
    graceMs: 10_000,
    log,
    ...options,
  });
  running.push(server);
  await server.start();
  return { server, readiness, url: `http://127.0.0.1:${server.address()?.port}` };
}

describe('createApiServer', () => {
  it('names the port that is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await expect(start((_, response) => response.end(), { port })).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringContaining(`port ${port} is in use already`),
    });
    other.close();
  });

  it('at stop reports draining, keeps serving for the delay, and then refuses connections', async () => {
    const { server, readiness, url } = await start((_, response) => response.end(readiness.now()), { delayMs: 1_000 });
    readiness.ready();
    const stopping = server.stop();
    expect(await (await fetch(url)).text()).toBe('draining');
    await stopping;
    await expect(fetch(url)).rejects.toBeInstanceOf(TypeError);
  });

  it('lets a running request finish while another connection is idle', async () => {
    const begun = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const { server, url } = await start((_, response) => {
      begun.resolve();
      void go.promise.then(() => response.setHeader('Connection', 'close').end('done'));
    });
    const idle = connect(server.address()?.port as number, '127.0.0.1');
    await once(idle, 'connect');
    const reply = fetch(url);
    await begun.promise;
    const stopping = server.stop();
    go.resolve();
    expect(await (await reply).text()).toBe('done');
    idle.destroy();
    await stopping;
  });

  it.each([
    [
      'headers that are too long',
      `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    ['bytes that are not HTTP', 'HELO example.org\r\n\r\n', 400, 'malformed_request'],
    [
      'an invalid Content-Length',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n',
      400,
      'malformed_request',
    ],
  ])('answers %s with a problem', async (_name, bytes, status, code) => {
    const { server } = await start((_, response) => response.end());
    const socket = connect(server.address()?.port as number, '127.0.0.1');
    socket.write(bytes);
    const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toContain('application/problem+json');
    const problem = JSON.parse(body) as { trace_id: string };
    expect(problem).toMatchObject({ status, code, type: `/docs/errors#${code}` });
    expect(head).toContain(`X-Trace-ID: ${problem.trace_id}`);
  });

  it('cuts off requests that do not finish in time', async () => {
    const begun = Promise.withResolvers<void>();
    const { server, url } = await start(() => begun.resolve(), { graceMs: 50 });
    const reply = fetch(url).catch((error: unknown) => error);
    await begun.promise;
    await server.stop();
    expect(await reply).toBeInstanceOf(TypeError);
  });

  it('can be stopped before it has started, and twice', async () => {
    const server = createApiServer({
      handle: () => {},
      host: '127.0.0.1',
      port: 0,
      readiness: createReadiness({ problem: () => null, isRefused: () => false }),
      delayMs: 60_000,
      graceMs: 0,
      log,
    });
    await server.stop();
    await expect(server.stop()).resolves.toBeUndefined();
    expect(server.address()).toBeNull();
  });
});
