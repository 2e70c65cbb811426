import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fakeHandlerContext, fakeTask } from '../../../test/fake-handler-context.ts';
import { parseHttpTarget, type HttpTarget } from '../../config/http-targets.ts';
import { networkOf } from '../../config/networks.ts';
import { parseSigningSecrets } from '../../config/signing-secrets.ts';
import { createHttpRequest } from './http-request.ts';
import { createHttpSecrets } from './http-secrets.ts';
import { signatureHeaders } from './http-signature.ts';
import { refusedAddresses } from './refused-addresses.ts';

interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Repeats the headers of a request in its answer, as some servers do in error messages. */
const received: Received[] = [];
const server = createServer((request, response) => void repeat(request, response));

async function repeat(request: IncomingMessage, response: ServerResponse): Promise<void> {
  received.push({ headers: request.headers, body: await text(request) });
  response.setHeader('location', String(request.headers['x-key'] ?? '/'));
  response.end(JSON.stringify(request.headers));
}
const directory = mkdtempSync(join(tmpdir(), 'secrets-'));
let origin = '';

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});
beforeEach(() => received.splice(0));

function secret(name: string, value: string, targets: string | null): void {
  mkdirSync(join(directory, name), { recursive: true });
  writeFileSync(join(directory, name, 'value'), value);
  if (targets !== null) writeFileSync(join(directory, name, 'targets'), targets);
}

const CURRENT = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
const NEXT = `whsec_${Buffer.alloc(32, 2).toString('base64')}`;

interface Options {
  readonly targets?: readonly string[];
  readonly signing?: string;
  readonly secretsIn?: string;
  /** Bytes of a response that are kept. */
  readonly keep?: number;
}

async function send(
  payload: unknown,
  { targets = ['*'], signing = '', secretsIn = directory, keep = 10_000 }: Options = {},
) {
  const handler = createHttpRequest({
    refused: refusedAddresses([networkOf('127.0.0.1/32')]),
    targets: targets.map((target) => parseHttpTarget(target) as HttpTarget),
    secrets: createHttpSecrets(secretsIn),
    signingSecrets: parseSigningSecrets(signing) ?? [],
    responseMaxBytes: keep,
    clock: { nowMs: () => 1_700_000_000_900 },
  });
  try {
    return (await handler.handle(fakeHandlerContext(payload))) as { headers: Record<string, string>; body: string };
  } finally {
    await handler.close();
  }
}

describe('targets', () => {
  it('are the only servers that get requests', async () => {
    await expect(send({ url: `${origin}/x` }, { targets: ['api.example.org'] })).rejects.toMatchObject({
      code: 'target_refused',
      message: `GET ${origin} was refused: HTTP_TARGETS does not name this server`,
    });
    expect(received).toEqual([]);
    await send({ url: `${origin}/x` }, { targets: ['api.example.org', '127.0.0.1'] });
    expect(received).toHaveLength(1);
  });

  it('do not open private networks', async () => {
    const handler = send({ url: 'http://10.0.0.1/' }, { targets: ['10.0.0.1'] });
    await expect(handler).rejects.toMatchObject({ code: 'address_refused' });
  });
});

describe('a secret in a header', () => {
  it('is sent, with its prefix, and does not get into the result', async () => {
    secret('billing', ' s3cret-of-billing \n', `other.example\n${origin}`);
    const result = await send({
      url: origin,
      headers: { Authorization: { secret: 'billing', prefix: 'Bearer ' }, 'X-Key': { secret: 'billing' }, A: 'b' },
    });
    expect(received[0]?.headers).toMatchObject({
      authorization: 'Bearer s3cret-of-billing',
      'x-key': 's3cret-of-billing',
      a: 'b',
    });
    expect(JSON.stringify(result)).not.toContain('s3cret');
    expect(result.headers['location']).toBe('[secret billing]');
    expect(JSON.parse(result.body)).toMatchObject({ authorization: 'Bearer [secret billing]' });
  });

  it('does not get into the result in parts, wherever the response is cut', async () => {
    const value = 'TOPSECRET-0123456789-ABCDEFGHIJ';
    secret('cut', value, origin);
    const headers = { 'X-Key': { secret: 'cut' } };
    const whole = await send({ url: origin, headers });
    const starts = whole.body.indexOf('[secret cut]');
    for (let length = 1; length <= value.length; length++) {
      const { body } = await send({ url: origin, headers }, { keep: starts + length });
      expect(body).not.toContain(value.slice(0, 4));
    }
    const located = await send({
      url: origin,
      headers: { ...headers, 'X-Key': { secret: 'cut', prefix: 'x'.repeat(90) } },
    });
    expect(located.headers['location']).toBe(`${'x'.repeat(90)}[secret cut]`);
  });

  it('does not get into the result if it contains another one', async () => {
    secret('short', 'ABCDEFGH', origin);
    secret('long', 'ABCDEFGH-REST-OF-THE-LONG-ONE', origin);
    const headers = { 'X-Key': { secret: 'short' }, 'X-Other': { secret: 'long' } };
    const { body } = await send({ url: origin, headers });
    expect(JSON.parse(body)).toMatchObject({ 'x-key': '[secret short]', 'x-other': '[secret long]' });
  });

  it('goes only to the standard port, unless its targets name another one', async () => {
    secret('ported', 'value-of-ported', origin.replace(/:\d+$/, ''));
    const sent = send({ url: origin, headers: { 'X-Key': { secret: 'ported' } } });
    await expect(sent).rejects.toMatchObject({ code: 'secret_refused' });
  });

  it('is read anew for each request', async () => {
    secret('rotated', 'the-first-value', origin);
    await send({ url: origin, headers: { 'X-Key': { secret: 'rotated' } } });
    secret('rotated', 'the-second-value', origin);
    await send({ url: origin, headers: { 'X-Key': { secret: 'rotated' } } });
    expect(received.map(({ headers }) => headers['x-key'])).toEqual(['the-first-value', 'the-second-value']);
  });

  it.each([
    [
      'names other servers',
      'https://api.example.org, 127.0.0.1:1',
      /may not be sent to http:\/\/127\.0\.0\.1:\d+: its/,
    ],
    ['means https', '127.0.0.1', /may not be sent to http:/],
    ['is empty', ' \n', /may not be sent/],
    ['has a line that is no target', 'http://127.0.0.1/path', /a line that is no target/],
  ])('is not sent if its list of targets %s', async (_, targets, message) => {
    secret('bound', 'value-of-bound', targets);
    const sent = send({ url: origin, headers: { 'X-Key': { secret: 'bound' } } });
    await expect(sent).rejects.toMatchObject({ code: 'secret_refused', message: expect.stringMatching(message) });
    expect(received).toEqual([]);
  });

  it('is not sent without a list of targets, and the attempt is repeated', async () => {
    secret('unbound', 'value-of-unbound', null);
    const sent = send({ url: origin, headers: { 'X-Key': { secret: 'unbound' } } });
    await expect(sent).rejects.toMatchObject({
      code: 'secret_unavailable',
      message: expect.stringContaining('unbound/targets'),
    });
  });

  it.each(['', 'line\nbreak', 'snowman ☃'])('cannot be %j', async (value) => {
    secret('odd', value, origin);
    const sent = send({ url: origin, headers: { 'X-Key': { secret: 'odd' } } });
    await expect(sent).rejects.toMatchObject({ code: 'secret_refused' });
    await expect(sent).rejects.not.toMatchObject({ message: expect.stringContaining('snowman') });
  });

  it('needs a directory of secrets', async () => {
    const sent = send({ url: origin, headers: { 'X-Key': { secret: 'billing' } } }, { secretsIn: '' });
    await expect(sent).rejects.toMatchObject({
      code: 'secret_refused',
      message: expect.stringMatching(/HTTP_SECRETS_DIR/),
    });
  });

  it.each(['../billing', '', '.', '..', 'a/b', 'A', 'a'.repeat(64)])('cannot be named "%s"', async (name) => {
    const sent = send({ url: origin, headers: { 'X-Key': { secret: name } } });
    await expect(sent).rejects.toMatchObject({ code: 'invalid_payload' });
  });
});

describe('signatures', () => {
  it('are those of the specification', () => {
    // The example of the specification's own libraries.
    const [key] = parseSigningSecrets('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') as Buffer[];
    const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', seconds: 1_614_265_330, body: '{"test": 2432232314}' };
    expect(signatureHeaders(message, [key as Buffer])['webhook-signature']).toBe(
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });

  it('cover the body that arrives, with each secret', async () => {
    await send({ url: origin, body: { ä: [1, '☃'] } }, { signing: `${CURRENT} ${NEXT}` });
    const [{ headers, body }] = received as [Received];
    expect(headers).toMatchObject({ 'webhook-id': fakeTask.id, 'webhook-timestamp': '1700000000' });
    const expected = [Buffer.alloc(24, 1), Buffer.alloc(32, 2)].map((key) => {
      return `v1,${createHmac('sha256', key).update(`${fakeTask.id}.1700000000.${body}`).digest('base64')}`;
    });
    expect(headers['webhook-signature']).toBe(expected.join(' '));
  });

  it('are not made without a secret, and no payload can set their headers', async () => {
    await send({ url: origin });
    expect(received[0]?.headers).not.toHaveProperty('webhook-id');
    for (const name of ['webhook-id', 'Webhook-Timestamp', 'WEBHOOK-SIGNATURE']) {
      await expect(send({ url: origin, headers: { [name]: 'x' } })).rejects.toMatchObject({ code: 'invalid_payload' });
    }
  });
});

describe('parseSigningSecrets', () => {
  it('reads up to two secrets', () => {
    expect(parseSigningSecrets('')).toEqual([]);
    expect(parseSigningSecrets(` ${CURRENT}\n${NEXT} `)).toEqual([Buffer.alloc(24, 1), Buffer.alloc(32, 2)]);
  });

  it.each([
    'whsec_',
    'whsec_AAAA',
    Buffer.alloc(24, 1).toString('base64'),
    `whsec_${Buffer.alloc(23).toString('base64')}`,
    `whsec_${Buffer.alloc(65).toString('base64')}`,
    `${CURRENT}!`,
    `${CURRENT},${NEXT}`,
    `${CURRENT} ${NEXT} ${CURRENT}`,
  ])('refuses %s', (given) => {
    expect(parseSigningSecrets(given)).toBeNull();
  });
});
