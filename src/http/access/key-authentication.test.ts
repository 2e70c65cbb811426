import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ANYBODY, type Client } from '../../core/access/client.ts';
import { makeSecret } from '../../core/access/secret.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import { authorize } from './authentication.ts';
import type { Identified } from './client-directory.ts';
import { createKeyAuthentication } from './key-authentication.ts';
import { createSecretCheck } from './secret-check.ts';
import { createWrongKeys } from './wrong-keys.ts';

const client: Client = { ...ANYBODY, name: 'shop', scopes: new Set(['read'] as const) };
const good = makeSecret(randomBytes).text;
const old = makeSecret(randomBytes).text;
const known = new Map<string, Identified>([
  [good, { kind: 'known', client, secretId: 'goodgood' }],
  [old, { kind: 'expired', of: 'secret' }],
]);

function fixture({ empty = false, later = false } = {}) {
  const metrics = createMetrics();
  const look = (secret: string): Identified => known.get(secret) ?? { kind: 'unknown' };
  const authentication = createKeyAuthentication({
    directory: { isEmpty: () => empty },
    checkSecret: createSecretCheck({
      directory: { identify: (secret) => (later ? Promise.resolve(look(secret)) : look(secret)) },
      wrongKeys: createWrongKeys({ nowMs: () => 0, monotonicMs: () => 0 }),
      metrics,
    }),
    metrics,
  });
  const noted: object[] = [];
  const request = (authorization?: string, clientAddress = '192.0.2.1'): ArrivingRequest => ({
    trace: { traceId: 'test', traceparent: null },
    clientAddress,
    client: { ...ANYBODY, scopes: new Set() },
    session: null,
    rawHeaders: authorization === undefined ? {} : { authorization },
    setHeader: () => {},
    annotate: (fields) => void noted.push(fields),
  });
  const refusal = async (authorization?: string, address?: string): Promise<Problem> => {
    try {
      await authentication.clientOf(request(authorization, address));
    } catch (error) {
      if (error instanceof Problem) return error;
      throw error;
    }
    throw new Error('the request was not refused');
  };
  const failures = async (): Promise<Record<string, number>> => {
    const { values } = await metrics.authFailures.get();
    return Object.fromEntries(values.map(({ labels, value }) => [labels.reason, value]));
  };
  return { authentication, request, refusal, failures, noted };
}

describe('createKeyAuthentication', () => {
  it.each([`Bearer ${good}`, `bearer ${good}`, `BEARER   ${good}`])('finds the client', async (header) => {
    for (const later of [false, true]) {
      const { authentication, request } = fixture({ later });
      expect(await authentication.clientOf(request(header))).toBe(client);
    }
  });

  it.each([undefined, '', 'Bearer', 'Bearer ', `Basic ${good}`, good, `Bearer${good}`])(
    'refuses a request without a key: %s',
    async (header) => {
      const { refusal, failures } = fixture();
      const problem = await refusal(header);
      expect(problem).toMatchObject({
        code: 'unauthenticated',
        headers: { 'WWW-Authenticate': 'Bearer realm="scheduler"' },
      });
      expect(await failures()).toEqual({ missing: 1 });
    },
  );

  it('names the command for the first client if there is none', async () => {
    expect((await fixture({ empty: true }).refusal()).message).toContain('scheduler clients create');
    expect((await fixture().refusal()).message).not.toContain('scheduler clients create');
  });

  it('says the same of every wrong key, and logs only the public id', async () => {
    const { refusal, noted, failures } = fixture();
    const { id, text } = makeSecret(randomBytes);
    const problems = [await refusal(`Bearer ${text}`), await refusal('Bearer something else')];
    for (const problem of problems) {
      expect(problem).toMatchObject({
        code: 'unauthenticated',
        message: 'the key is not valid',
        headers: { 'WWW-Authenticate': expect.stringContaining('error="invalid_token"') },
      });
    }
    expect(noted).toEqual([{ secret_id: id }]);
    expect(await failures()).toEqual({ unknown: 2 });
  });

  it('says that a key is incomplete, which its checksum shows without looking at any client', async () => {
    expect((await fixture().refusal(`Bearer ${good.slice(0, -1)}`)).message).toContain('incomplete');
  });

  it('says that a secret has expired only to who has it', async () => {
    const { refusal, failures } = fixture();
    expect((await refusal(`Bearer ${old}`)).code).toBe('secret_expired');
    expect((await refusal(`Bearer ${old.slice(0, 13)}${good.slice(13)}`)).code).toBe('unauthenticated');
    expect(await failures()).toEqual({ expired: 1, unknown: 1 });
  });

  it('does not slow down who uses an expired secret', async () => {
    const { refusal } = fixture();
    const codes = [];
    for (let i = 0; i < 110; i++) codes.push((await refusal(`Bearer ${old}`)).code);
    expect(new Set(codes)).toEqual(new Set(['secret_expired']));
    expect((await refusal('Bearer wrong')).code).toBe('unauthenticated');
  });

  it('slows down wrong keys of one address, and never a right one', async () => {
    const { refusal, authentication, request, failures } = fixture();
    const codes = [];
    for (let i = 0; i < 103; i++) codes.push((await refusal(`Bearer wrong-${i}`)).code);
    expect(codes.slice(0, 100).every((code) => code === 'unauthenticated')).toBe(true);
    expect(codes.slice(100)).toEqual(Array(3).fill('too_many_wrong_keys'));
    expect((await refusal('Bearer wrong')).headers).toEqual({ 'Retry-After': '1' });
    expect(await authentication.clientOf(request(`Bearer ${good}`))).toBe(client);
    expect((await refusal('Bearer wrong', '192.0.2.2')).code).toBe('unauthenticated');
    // A request without a key guesses nothing.
    expect((await refusal()).code).toBe('unauthenticated');
    expect(await failures()).toEqual({ unknown: 101, slowed: 4, missing: 1 });
  });
});

describe('authorize', () => {
  it('lets a client use the routes of its scopes, and those for every client', async () => {
    const { authentication, request } = fixture();
    for (const scope of ['read', 'any'] as const) {
      const info = request(`Bearer ${good}`);
      await authorize({ scope }, info, authentication);
      expect(info.client).toBe(client);
    }
  });

  it('names the missing scope, and still knows the client for the log', async () => {
    const { authentication, request } = fixture();
    const info = request(`Bearer ${good}`);
    await expect(authorize({ scope: 'operate' }, info, authentication)).rejects.toMatchObject({
      code: 'missing_scope',
      message: expect.stringContaining('`operate`'),
      headers: { 'WWW-Authenticate': expect.stringContaining('scope="operate"') },
    });
    expect(info.client).toBe(client);
  });

  it('asks nobody on public routes', async () => {
    const { authentication, request } = fixture();
    await expect(authorize({ scope: 'public' }, request(), authentication)).resolves.toBeUndefined();
    await expect(authorize({ scope: 'any' }, request(), authentication)).rejects.toThrow(Problem);
  });
});
