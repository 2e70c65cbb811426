import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { createProbeServer, type ProbeServer } from './probe-server.ts';

const log = pino({ level: 'silent' });
const running: ProbeServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

async function start(port = 0): Promise<number> {
  const server = createProbeServer({
    host: '127.0.0.1',
    port,
    setting: 'METRICS_PORT',
    registry: new Registry(),
    isHealthy: () => true,
    isReady: () => false,
    log,
  });
  running.push(server);
  await server.start();
  return server.port() ?? 0;
}

/** Returns the status for a path, including paths that `fetch` would not send. */
async function statusOf(port: number, path: string): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1');
  socket.end(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  return (await text(socket)).split(' ', 2)[1];
}

describe('createProbeServer', () => {
  it('answers its paths, with or without a query, and answers 404 to all others', async () => {
    const port = await start();
    const paths = ['/healthz', '/readyz', '/metrics', '/healthz?verbose', '/', '//', 'http://[', '/%'];
    const answers = await Promise.all(paths.map((path) => statusOf(port, path)));
    expect(answers).toEqual(['200', '503', '200', '200', '404', '404', '404', '404']);
  });

  it('names the port that is in use, and its setting', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await expect(start(port)).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringMatching(new RegExp(`port ${port} is in use already.*METRICS_PORT`)),
    });
    other.close();
  });
});
