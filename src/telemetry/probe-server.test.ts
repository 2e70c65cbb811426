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
    allowedHosts: ['metrics.example.org', '*.internal'],
    isHealthy: () => true,
    isReady: () => false,
    log,
  });
  running.push(server);
  await server.start();
  return server.port() ?? 0;
}

/** Returns the status for a path, including paths and hosts that `fetch` would not send. */
async function statusOf(port: number, path: string, host = 'Host: x'): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1');
  socket.end(
    `GET ${path} HTTP/1.${host === '' ? 0 : 1}\r\n${host === '' ? '' : `${host}\r\n`}Connection: close\r\n\r\n`,
  );
  return (await text(socket)).split(' ', 2)[1];
}

describe('createProbeServer', () => {
  it('answers its paths, with or without a query, and answers 404 to all others', async () => {
    const port = await start();
    const paths = ['/healthz', '/readyz', '/metrics', '/healthz?verbose', '/', '//', 'http://[', '/%'];
    const answers = await Promise.all(paths.map((path) => statusOf(port, path)));
    expect(answers).toEqual(['200', '503', '200', '200', '404', '404', '404', '404']);
  });

  it('shows metrics only under addresses, names of the inner network and names that are allowed', async () => {
    const port = await start();
    const own = ['127.0.0.1', `127.0.0.1:${port}`, '[::1]:9464', '10.1.2.3:9464', 'localhost', 'worker:9464', 'API'];
    const named = [
      'metrics.example.org',
      'a.internal:9464',
      'api.scheduler.svc',
      'api.scheduler.svc.cluster.local.:9464',
    ];
    const foreign = [
      'evil.example',
      'evil.example:9464',
      'metrics.example.org.evil.example',
      'svc.evil',
      'evilsvc.x',
      '',
    ];
    const malformed = [
      '127.0.0.1.evil.example',
      'evil.example#localhost',
      'localhost@evil.example',
      'a b',
      '127.0.0.1:x',
    ];
    const statusesOf = (hosts: readonly string[], path = '/metrics') =>
      Promise.all(hosts.map((host) => statusOf(port, path, `Host: ${host}`)));
    expect(new Set(await statusesOf([...own, ...named]))).toEqual(new Set(['200']));
    expect(new Set(await statusesOf([...foreign, ...malformed]))).toEqual(new Set(['421']));
    expect(await statusOf(port, '/metrics', '')).toBe('200');
    // Probes tell nothing, and a kubelet may send any name.
    expect(new Set(await statusesOf(foreign, '/healthz'))).toEqual(new Set(['200']));
    expect(new Set(await statusesOf(foreign, '/readyz'))).toEqual(new Set(['503']));
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
