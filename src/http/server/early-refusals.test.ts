import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createMetrics } from '../../telemetry/metrics.ts';
import { openAuthentication } from '../access/authentication.ts';
import { createApp } from '../app.ts';
import { createMemoryBudget } from '../body/memory-budget.ts';
import { Problem } from '../problem.ts';
import { defineRoute } from '../route.ts';
import { createReadiness } from './readiness.ts';
import { createApiServer, type ApiServer } from './server.ts';

const log = pino({ level: 'silent' });
const running: ApiServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

const BODY_MAX = 100_000;

const echo = defineRoute({
  method: 'post',
  path: '/echo',
  summary: 'Echo',
  scope: 'read',
  body: z.array(z.number()),
  bodyLimit: BODY_MAX,
  responses: { 200: { description: 'The same', schema: z.array(z.number()) } },
  handler: async ({ body }) => ({ body }),
});
const limited = defineRoute({
  method: 'post',
  path: '/limited',
  summary: 'Refuse before the body is read',
  scope: 'read',
  body: z.unknown(),
  responses: {},
  async admit() {
    throw new Problem('rate_limited', 'no');
  },
  handler: async () => ({ body: null }) as never,
});

/** Starts a new server and opens a connection to it; returns also the answers on that connection. */
async function open({ memoryBytes = 10_000_000, answerTakenMs = 60_000 } = {}) {
  const metrics = createMetrics();
  const memory = createMemoryBudget({ maxBytes: memoryBytes, metrics, waitMs: 20 });
  const handle = createApp({
    authentication: openAuthentication,
    routes: [echo, limited],
    metrics,
    log,
    memory,
    answerTakenMs,
  }).callback();
  const server = createApiServer({
    handle: (request, response) => void handle(request, response),
    host: '127.0.0.1',
    port: 0,
    readiness: createReadiness({ problem: () => null, isRefused: () => false }),
    delayMs: 0,
    graceMs: 1_000,
    log,
  });
  running.push(server);
  await server.start();
  const socket = connect(server.address()?.port as number, '127.0.0.1');
  let text = '';
  socket.on('data', (data) => (text += data.toString('latin1')));
  // The tests notice a reset as a missing answer.
  socket.on('error', () => {});
  await once(socket, 'connect');
  return {
    socket,
    memory,
    answers: () => text.match(/HTTP\/1\.1 \d{3}/g)?.map((line) => Number(line.slice(9))) ?? [],
    seen: () => text,
  };
}

const head = (path: string, headers: Record<string, string | number>): string =>
  [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    ...Object.entries({ 'Content-Type': 'application/json', ...headers }).map(([name, value]) => `${name}: ${value}`),
    '',
    '',
  ].join('\r\n');

const post = (path: string, body: Buffer, headers: Record<string, string | number> = {}): Buffer =>
  Buffer.concat([Buffer.from(head(path, { 'Content-Length': body.length, ...headers })), body]);

const VALID = post('/echo', Buffer.from('[1]'));

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}

const spaces = gzipSync(Buffer.alloc(5_000_000, ' '));
/** Even compressed, this is longer than the part that the server reads before it refuses the body. */
const noise = gzipSync(randomBytes(3_000_000));
const many = Buffer.from(`[${'1,'.repeat(200_000)}1]`);
const chunked = (body: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')]);

describe('a request that is refused before its body was read', () => {
  it.each([
    ['a short compressed body that is too large', post('/echo', spaces, { 'Content-Encoding': 'gzip' }), 413],
    ['a short body that admission refuses before it is read', post('/limited', Buffer.from('[1,2,3]')), 429],
    ['a short body of another type', post('/echo', Buffer.from('[1]'), { 'Content-Type': 'text/plain' }), 415],
    ['a broken gzip', post('/echo', Buffer.from('no gzip'), { 'Content-Encoding': 'gzip' }), 400],
    ['an unknown encoding', post('/echo', Buffer.from('[1]'), { 'Content-Encoding': 'zstd' }), 415],
    ['a body for an unknown path', post('/nothing', Buffer.from('[1]')), 404],
  ])('leaves the connection open for the next request: %s', async (_name, bytes, status) => {
    const { socket, answers } = await open();
    // Both requests are sent at once, as by a client that pipelines.
    socket.write(Buffer.concat([bytes, VALID]));
    await expect.poll(answers).toEqual([status, 200]);
    socket.write(VALID);
    await expect.poll(answers).toEqual([status, 200, 200]);
  });

  it.each([
    ['a large compressed body', post('/echo', noise, { 'Content-Encoding': 'gzip' }), 413],
    ['a large body', post('/echo', many), 413],
    [
      'a large broken gzip',
      post('/echo', Buffer.concat([spaces.subarray(0, 12), noise]), { 'Content-Encoding': 'gzip' }),
      400,
    ],
    ['a large body that admission refuses before it is read', post('/limited', many), 429],
    ['a large body of another type', post('/echo', many, { 'Content-Type': 'text/plain' }), 415],
    [
      'a large body in chunks',
      Buffer.concat([Buffer.from(head('/echo', { 'Transfer-Encoding': 'chunked' })), chunked(many)]),
      413,
    ],
  ])('gets its whole answer, and the connection is closed: %s', async (_name, bytes, status) => {
    const { socket, answers, seen, memory } = await open();
    socket.write(bytes.subarray(0, 200_000));
    await expect.poll(answers).toEqual([status]);
    expect(seen()).toMatch(/^connection: close/im);
    // A client that keeps sending has time to read the answer before the connection is cut.
    socket.write(bytes.subarray(200_000));
    await closed(socket);
    expect(seen()).toContain('"trace_id"');
    expect(memory.open().tryTake(memory.maxBytes)).toBe(true);
  });

  it('is closed soon if the client neither sends the rest nor disconnects', async () => {
    const { socket, answers } = await open();
    const from = performance.now();
    socket.write(post('/echo', many).subarray(0, 1_000));
    await expect.poll(answers).toEqual([413]);
    await closed(socket);
    expect(performance.now() - from).toBeLessThan(5_000);
  });

  it('does not ask for a body that it will not read', async () => {
    const { socket, answers, seen } = await open();
    socket.write(head('/limited', { 'Content-Length': 3, Expect: '100-continue' }));
    await expect.poll(answers).toEqual([429]);
    expect(seen()).toMatch(/^connection: close/im);
    await closed(socket);
  });

  it('asks for a body that it reads', async () => {
    const { socket, answers } = await open();
    socket.write(head('/echo', { 'Content-Length': 3, Expect: '100-continue' }));
    await expect.poll(answers).toEqual([100]);
    socket.write('[1]');
    await expect.poll(answers).toEqual([100, 200]);
    socket.write(VALID);
    await expect.poll(answers).toEqual([100, 200, 200]);
  });
});

describe('when the memory budget is used up', () => {
  it('a request is refused after a short wait with Retry-After, and a later one succeeds', async () => {
    const { socket, memory, answers, seen } = await open();
    const other = memory.open();
    await other.take(memory.maxBytes - 1_000);
    socket.write(VALID);
    await expect.poll(answers).toEqual([503]);
    expect(seen()).toMatch(/^retry-after: [1-3]/im);
    expect(seen()).toContain('"code":"overloaded"');
    other.release();
    socket.write(VALID);
    await expect.poll(answers).toEqual([503, 200]);
    // All memory was given back.
    await expect.poll(() => memory.open().tryTake(memory.maxBytes)).toBe(true);
  });

  it('a single body may have at most a quarter of the budget', async () => {
    const { socket, answers } = await open({ memoryBytes: 40_000 });
    socket.write(post('/echo', Buffer.from(`[${'1,'.repeat(7_000)}1]`)));
    await expect.poll(answers).toEqual([413]);
  });
});

it('serves pipelined requests one after the other', async () => {
  const { socket, answers } = await open();
  socket.write(Buffer.concat(Array.from({ length: 50 }, () => VALID)));
  await expect.poll(() => answers().length).toBe(50);
});

it('cuts off a client that does not take its answer', async () => {
  const { socket, memory } = await open({ answerTakenMs: 100, memoryBytes: 100_000_000 });
  socket.pause();
  const large = Buffer.from(`[${'1,'.repeat(49_000)}1]`);
  // These answers are more than the socket buffers of both sides hold. They are served one after the other.
  for (let i = 0; i < 200 && !socket.destroyed; i++) {
    socket.write(post('/echo', large));
    await delay(1);
  }
  await expect.poll(() => memory.open().tryTake(memory.maxBytes), { timeout: 10_000 }).toBe(true);
}, 20_000);
