import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { Writable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { serveApp, type ServedApp } from '../../test/harness/serve-app.ts';
import { PoolExhaustedError, RefusedDataError, StatementTimedOutError, StoreUnavailableError } from '../core/errors.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { openAuthentication } from './access/authentication.ts';
import { Problem } from './problem.ts';
import { defineRoute } from './route.ts';

const lines: Record<string, unknown>[] = [];
const log = pino(
  { level: 'debug', formatters: { level: (level) => ({ level }) } },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  }),
);
const metrics = createMetrics();
let draining = false;

const anything = { 200: { description: 'Echo', schema: z.unknown() } };
const failures: Record<string, () => Error> = {
  postgresql: () => new StoreUnavailableError('postgresql', new Error('secret host')),
  redis: () => new StoreUnavailableError('redis', new Error('secret host')),
  pool: () => new PoolExhaustedError(new Error('secret pool')),
  statement: () => new StatementTimedOutError(new Error('secret lock'), 'settle'),
  data: () => new RefusedDataError(new Error('secret value')),
  bug: () => new TypeError('secret bug'),
  problem: () => new Problem('not_cancellable', 'it has ended', { headers: { 'X-More': '1' } }),
};

const routes = [
  defineRoute({
    method: 'get',
    path: '/things/{id}',
    summary: 'Show',
    scope: 'read',
    params: z.object({ id: z.string().regex(/^\d+$/) }),
    query: z.object({ limit: z.coerce.number().max(5).optional() }),
    responses: anything,
    handler: async ({ params, query, clientAddress, trace }) => ({ body: { params, query, clientAddress, trace } }),
  }),
  defineRoute({
    method: 'patch',
    path: '/things/9',
    summary: 'Change the ninth',
    scope: 'read',
    responses: anything,
    handler: async () => ({ body: {} }),
  }),
  defineRoute({
    method: 'post',
    path: '/things',
    summary: 'Make',
    scope: 'read',
    body: z.object({ n: z.number(), list: z.array(z.strictObject({ a: z.number() })).optional() }),
    bodyLimit: 1_000,
    responses: { 201: { description: 'Made', schema: z.object({ n: z.number() }) } },
    admit: async (info) => info.setHeader('X-Admitted', 'yes'),
    async handler({ body, annotate }) {
      annotate({ thing: body.n });
      return { status: 201 as const, headers: { Location: '/things/1' }, body: { n: body.n } };
    },
  }),
  defineRoute({
    method: 'delete',
    path: '/things',
    summary: 'Clear',
    scope: 'read',
    responses: anything,
    handler: async () => ({ body: null }),
  }),
  defineRoute({
    method: 'get',
    path: '/failures/{name}',
    summary: 'Fail',
    scope: 'read',
    params: z.object({ name: z.string() }),
    responses: anything,
    async handler({ params: { name } }) {
      throw failures[name]?.() ?? new Error('unknown');
    },
  }),
];

let url = '';
let server: ServedApp['server'];
beforeAll(async () => {
  const isDraining = () => draining;
  ({ url, server } = await serveApp({ authentication: openAuthentication, routes, metrics, log, isDraining }));
});

async function call(
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: Record<string, string> = { 'content-type': 'application/json' },
) {
  const init = body === undefined ? { method } : { method, body, headers };
  const response = await fetch(url + path, init);
  return { status: response.status, headers: response.headers, body: (await response.json()) as any };
}

describe('answers', () => {
  it('passes validated parts to the handler', async () => {
    const { status, body, headers } = await call('GET', '/things/7?limit=3');
    expect(status).toBe(200);
    expect(body).toMatchObject({ params: { id: '7' }, query: { limit: 3 }, clientAddress: '127.0.0.1' });
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('x-content-type-options')).toBe('nosniff');
  });

  it('sends the status and headers that the handler returns', async () => {
    const { status, body, headers } = await call('POST', '/things', '{"n":1}');
    expect({ status, body }).toEqual({ status: 201, body: { n: 1 } });
    expect(headers.get('location')).toBe('/things/1');
    expect(headers.get('x-admitted')).toBe('yes');
  });

  it('accepts compressed bodies, and applies the limit to the decompressed size', async () => {
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    expect((await call('POST', '/things', gzipSync('{"n":2}'), headers)).status).toBe(201);
    expect((await call('POST', '/things', gzipSync(`{"n":2${' '.repeat(100_000)}}`), headers)).status).toBe(413);
    for (const encoding of ['gzip', 'deflate', 'br']) {
      const mislabelled = await call('POST', '/things', '{"n":2}', { ...headers, 'content-encoding': encoding });
      expect(mislabelled.body.code).toBe('body_incomplete');
    }
    expect((await call('POST', '/things', '{}', { ...headers, 'content-encoding': 'zstd' })).status).toBe(415);
  });

  it('closes the connection after each answer while draining', async () => {
    expect((await call('GET', '/things/7')).headers.get('connection')).toBe('keep-alive');
    draining = true;
    expect((await call('GET', '/things/7')).headers.get('connection')).toBe('close');
    expect((await call('GET', '/nothing')).headers.get('connection')).toBe('close');
    draining = false;
  });
});

describe('problems', () => {
  it('have the form of RFC 9457', async () => {
    const { body, headers } = await call('GET', '/nothing');
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(body).toEqual({
      type: '/docs/errors#not_found',
      title: 'No route has this path',
      status: 404,
      detail: 'no route has the path /nothing',
      code: 'not_found',
      trace_id: headers.get('x-trace-id'),
    });
  });

  it('name the methods that the path allows', async () => {
    const { status, body, headers } = await call('PUT', '/things', '{}');
    expect({ status, code: body.code, allow: headers.get('allow') }).toEqual({
      status: 405,
      code: 'method_not_allowed',
      allow: 'DELETE, POST',
    });
  });

  it('name the methods of the path itself, not of another path that also matches', async () => {
    const { status, body, headers } = await call('GET', '/things/9');
    expect({ status, code: body.code, allow: headers.get('allow') }).toEqual({
      status: 405,
      code: 'method_not_allowed',
      allow: 'PATCH',
    });
    expect((await call('OPTIONS', '/things/7')).headers.get('allow')).toBe('GET, HEAD');
    expect((await fetch(`${url}/things/7`, { method: 'HEAD' })).status).toBe(200);
  });

  it('serves a path without parameters in every spelling that the router allows', async () => {
    const statuses = ['/things', '/things/', '/things?', '/THINGS', '/things//'].map(async (path) => {
      const response = await fetch(url + path, { method: 'DELETE' });
      return [path, response.status];
    });
    expect(await Promise.all(statuses)).toEqual([
      ['/things', 200],
      ['/things/', 200],
      ['/things?', 200],
      ['/THINGS', 200],
      ['/things//', 404],
    ]);
    expect((await call('DELETE', '/things?unknown=1')).body).toMatchObject({ code: 'invalid_request' });
  });

  it('report every error in all parts of a request', async () => {
    const { status, body } = await call('GET', '/things/x?limit=9&color=red');
    expect(status).toBe(422);
    expect(body.errors).toEqual([
      { path: 'path:id', code: 'invalid_format', message: expect.any(String), given: '"x"' },
      { path: 'query:limit', code: 'too_big', message: expect.any(String), expected: '<= 5', given: '"9"' },
      { path: 'query:color', code: 'unknown_field', message: 'there is no such parameter' },
    ]);
  });

  it('name fields of the body by JSON pointers', async () => {
    const { body } = await call('POST', '/things', '{"n":"1","list":[{"a":1},{"b":2}],"more":1}');
    expect(body.errors.map(({ path, code }: { path: string; code: string }) => `${path} ${code}`)).toEqual([
      '/n invalid_type',
      '/list/1/a required',
      '/list/1/b unknown_field',
      '/more unknown_field',
    ]);
  });

  it('list at most a hundred errors', async () => {
    const list = Array.from({ length: 120 }, () => 1);
    const { body } = await call('POST', '/things', JSON.stringify({ n: 1, list }));
    expect(body.errors).toHaveLength(100);
    expect(body.detail).toBe('more than 100 fields are wrong; the first 100 are listed');
  });

  it.each([
    ['no body', undefined, {}, 400, 'body_required'],
    ['an empty body', '', { 'content-type': 'application/json' }, 400, 'body_required'],
    ['no content type', Buffer.from('{"n":1}'), {}, 415, 'unsupported_media_type'],
    ['text', '{"n":1}', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
    ['a form', 'n=1', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
    [
      'another charset',
      '{"n":1}',
      { 'content-type': 'application/json; charset=utf-16' },
      415,
      'unsupported_media_type',
    ],
    [
      'JSON with an explicit UTF-8 charset',
      '{"n":1}',
      { 'content-type': 'Application/JSON; charset=UTF-8' },
      201,
      undefined,
    ],
    ['broken JSON', '{"n":', { 'content-type': 'application/json' }, 400, 'malformed_json'],
    [
      'bytes that are not UTF-8',
      Buffer.from([0x22, 0xff, 0x22]),
      { 'content-type': 'application/json' },
      400,
      'malformed_json',
    ],
    [
      'a body over the limit',
      `{"n":${' '.repeat(1_000)}1}`,
      { 'content-type': 'application/json' },
      413,
      'body_too_large',
    ],
    ['an inexact number', '{"n":9007199254740993}', { 'content-type': 'application/json' }, 422, 'invalid_request'],
  ])('depend on the form of the body: %s', async (_name, body, headers, status, code) => {
    const reply = await call('POST', '/things', body, headers);
    expect({ status: reply.status, code: reply.body.code }).toEqual({ status, code });
  });

  it.each([
    ['postgresql', 503, 'postgresql_unavailable'],
    ['redis', 503, 'redis_unavailable'],
    ['pool', 503, 'pool_exhausted'],
    ['statement', 503, 'statement_timed_out'],
    ['data', 422, 'refused_data'],
    ['bug', 500, 'internal_error'],
    ['problem', 409, 'not_cancellable'],
  ])('report a failure (%s) without its secrets', async (name, status, code) => {
    const reply = await call('GET', `/failures/${name}`);
    expect(reply).toMatchObject({ status, body: { code } });
    expect(JSON.stringify(reply.body)).not.toContain('secret');
    if (status === 503) expect(Number(reply.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    if (name === 'problem') expect(reply.headers.get('x-more')).toBe('1');
  });

  it('are answered and logged for a body that ends early', async () => {
    const { port } = new URL(url);
    lines.length = 0;
    const request = httpRequest({
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/things',
      headers: { 'content-type': 'application/json', 'content-length': 100 },
    });
    request.on('error', () => {});
    request.write('{"n":');
    await once(server, 'request');
    request.destroy();
    await expect
      .poll(() => lines.find(({ msg }) => msg === 'request') ?? null)
      .toMatchObject({ status: 400, code: 'body_incomplete' });
  });
});

describe('traces and logs', () => {
  it('uses the trace of a request, and creates one for a request without it', async () => {
    const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const reply = await fetch(`${url}/things/7`, { headers: { traceparent: parent, 'x-trace-id': 'mine' } });
    expect(reply.headers.get('x-trace-id')).toBe('mine');
    expect(((await reply.json()) as any).trace).toEqual({ traceId: 'mine', traceparent: parent });
    expect((await call('GET', '/things/7')).headers.get('x-trace-id')).toMatch(/^[0-9a-f]{32}$/);
  });

  it('logs one line per request: info for changes, debug for reads, never bodies or headers', async () => {
    lines.length = 0;
    await call('POST', '/things', '{"n":5}', {
      'content-type': 'application/json',
      'x-trace-id': 'abc',
      authorization: 'secret',
    });
    await call('GET', '/things/7');
    await call('GET', '/failures/bug');
    expect(lines).toMatchObject([
      {
        level: 'info',
        msg: 'request',
        method: 'POST',
        route: '/things',
        status: 201,
        trace_id: 'abc',
        thing: 5,
        address: '127.0.0.1',
      },
      { level: 'debug', msg: 'request', method: 'GET', route: '/things/{id}', status: 200 },
      { level: 'error', msg: 'request failed unexpectedly', err: { message: 'secret bug' } },
      { level: 'debug', msg: 'request', route: '/failures/{name}', status: 500, code: 'internal_error' },
    ]);
    expect(JSON.stringify(lines.slice(0, 2))).not.toContain('secret');
  });

  it('counts requests by route, and all unmatched requests under one label', async () => {
    await call('GET', '/nothing/1');
    await call('GET', '/nothing/2');
    const { values } = await metrics.httpRequests.get();
    const labels = new Set(values.map(({ labels: { route } }) => route));
    expect(labels).toEqual(new Set(['/things/{id}', '/things', '/failures/{name}', 'unmatched']));
  });
});
