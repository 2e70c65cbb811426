import { createHmac, createPublicKey } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { AUDIENCE, makeKey } from '../../../../test/oidc/identity-provider.ts';
import { startLoginBed, type LoginBed } from '../../../../test/oidc/login-bed.ts';

const MINUTE = 60;

let bed: LoginBed;
beforeAll(async () => {
  bed = await startLoginBed();
}, 120_000);

const get = (token: string, path = '/clients/self') =>
  bed.api.request(path, { headers: { authorization: `Bearer ${token}` } });

const inPast = (seconds: number) => Math.floor(Date.now() / 1_000) - seconds;

describe('an access token of the provider', () => {
  it('that a program has got by itself opens what its grant says', async () => {
    const token = await bed.provider.robotToken();
    const self = await get(token);
    expect(self.body).toMatchObject({ name: 'oidc:robot@example.org', role: 'operator', queues: ['shop.*'] });
    expect((await get(token, '/audit')).body.code).toBe('missing_scope');
    expect((await get(token, '/queues/mail')).body.code).toBe('queue_not_allowed');
    expect((await get(token, '/tasks')).status).toBe(200);
  });

  it.each([undefined, 'JWT', 'at+jwt', 'application/at+jwt'])('may have the type %s', async (typ) => {
    const token = await bed.provider.sign({}, typ === undefined ? {} : { typ });
    expect((await get(token)).body).toMatchObject({ name: 'oidc:anna@example.org', role: 'admin' });
  });

  it('may be for several servers, and its times may differ by half a minute', async () => {
    expect((await get(await bed.provider.sign({ aud: ['https://other.example', AUDIENCE] }))).status).toBe(200);
    expect((await get(await bed.provider.sign({ exp: inPast(15), nbf: inPast(-15) }))).status).toBe(200);
  });

  it('says who acts, in the audit log as well', async () => {
    const token = await bed.provider.sign();
    await bed.api.send('/queues/default/pause', '', { authorization: `Bearer ${token}` });
    const { body } = await get(token, '/audit?action=queue.pause&limit=1');
    expect(body.items[0]).toMatchObject({ client: 'oidc:anna@example.org', outcome: 'allowed' });
  });

  it('of somebody who may do nothing is refused, and not for being wrong', async () => {
    const stranger = await get(await bed.provider.sign({ email: 'x@example.org', groups: ['staff'] }));
    expect([stranger.status, stranger.body.code]).toEqual([403, 'no_grant']);
    expect(JSON.stringify(stranger.body)).not.toContain('scheduler-admins');
    const nameless = await get(await bed.provider.sign({ email: undefined }));
    expect([nameless.status, nameless.body.code]).toEqual([403, 'identity_incomplete']);
    const unverified = await get(await bed.provider.sign({ email_verified: false }));
    expect([unverified.status, unverified.body.code]).toEqual([403, 'identity_incomplete']);
  });

  it('of somebody who may do nothing leaves their name in the audit log, if they wanted to do something', async () => {
    const token = await bed.provider.sign({ email: 'refused@example.org', groups: ['staff'] });
    await bed.api.send('/queues/default/pause', '', { authorization: `Bearer ${token}` });
    const admin = await bed.provider.sign();
    const refused = async () => (await get(admin, '/audit?outcome=refused&limit=1')).body.items[0];
    await expect
      .poll(refused, { timeout: 20_000 })
      .toMatchObject({ client: 'oidc:refused@example.org', action: 'queue.pause', code: 'no_grant' });
  });
});

describe('a token that is not valid', () => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const split = async () => (await bed.provider.sign()).split('.') as [string, string, string];
  const publicKey = () => {
    const { kty, n, e } = bed.provider.options.keys[0]!;
    return createPublicKey({ key: { kty, n, e } as never, format: 'jwk' });
  };
  const hmac = (input: string, key: string | Buffer) => createHmac('sha256', key).update(input).digest('base64url');

  const FORGED: readonly [string, () => Promise<string>][] = [
    ['alg none, without a signature', async () => `${part({ alg: 'none' })}.${(await split())[1]}.`],
    ['alg None', async () => `${part({ alg: 'None', kid: 'first' })}.${(await split())[1]}.${(await split())[2]}`],
    [
      'HS256 with the public key as PEM',
      async () => {
        const input = `${part({ alg: 'HS256', kid: 'first' })}.${(await split())[1]}`;
        return `${input}.${hmac(input, publicKey().export({ type: 'spki', format: 'pem' }))}`;
      },
    ],
    [
      'HS256 with the public key as JWK',
      async () => {
        const input = `${part({ alg: 'HS256', kid: 'first' })}.${(await split())[1]}`;
        return `${input}.${hmac(input, JSON.stringify(publicKey().export({ format: 'jwk' })))}`;
      },
    ],
    [
      'HS256 with an empty key',
      async () => {
        const input = `${part({ alg: 'HS256' })}.${(await split())[1]}`;
        return `${input}.${hmac(input, '')}`;
      },
    ],
    [
      'another algorithm of the same key',
      async () => {
        const [, payload, signature] = await split();
        return `${part({ alg: 'PS256', kid: 'first' })}.${payload}.${signature}`;
      },
    ],
    [
      'an algorithm that is not allowed',
      async () => {
        const [, payload, signature] = await split();
        return `${part({ alg: 'RS512', kid: 'first' })}.${payload}.${signature}`;
      },
    ],
    [
      'other claims under the same signature',
      async () => {
        const [header, payload, signature] = await split();
        const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object;
        return `${header}.${part({ ...claims, email: 'root@example.org' })}.${signature}`;
      },
    ],
    ['a signature that is not whole', async () => (await bed.provider.sign()).slice(0, -4)],
    ['no signature', async () => (await split()).slice(0, 2).join('.') + '.'],
    [
      'its own key in the header',
      async () => {
        const [, payload, signature] = await split();
        const jwk = publicKey().export({ format: 'jwk' });
        return `${part({ alg: 'RS256', jwk })}.${payload}.${signature.split('').toReversed().join('')}`;
      },
    ],
    ['another issuer', () => bed.provider.sign({ iss: 'https://evil.example' })],
    ['the issuer in another spelling', () => bed.provider.sign({ iss: `${bed.provider.issuer}/` })],
    ['no issuer', () => bed.provider.sign({ iss: undefined })],
    ['another audience', () => bed.provider.sign({ aud: 'https://other.example' })],
    ['a part of the audience', () => bed.provider.sign({ aud: `${AUDIENCE}/more` })],
    ['no audience', () => bed.provider.sign({ aud: undefined })],
    ['an ID token, which is for the scheduler as a client', () => bed.provider.sign({ aud: 'scheduler', nonce: 'n' })],
    ['no expiry', () => bed.provider.sign({ exp: undefined })],
    ['an expiry that is a text', () => bed.provider.sign({ exp: '9999999999' })],
    ['that is not valid yet', () => bed.provider.sign({ nbf: inPast(-MINUTE) })],
    ['the type of a logout token', () => bed.provider.sign({}, { typ: 'logout+jwt' })],
    ['that is bound to a key of its owner', () => bed.provider.sign({ cnf: { jkt: 'x' } })],
    ['an unknown key', () => bed.provider.sign({}, { kid: 'unknown' })],
    ['a payload that is no JSON', async () => `${part({ alg: 'RS256', kid: 'first' })}.bm8.AAAA`],
    ['a header that is no JSON', async () => `bm8.${(await split())[1]}.AAAA`],
  ];

  it.each(FORGED)('%s: is a wrong key', async (_, forge) => {
    const { status, headers, body } = await get(await forge());
    expect([status, body.code, body.detail]).toEqual([401, 'unauthenticated', 'the key is not valid']);
    expect(headers.get('www-authenticate')).toBe('Bearer realm="scheduler", error="invalid_token"');
  });

  it('because it has expired: whoever has it learns that, and is not slowed', async () => {
    const { status, body } = await get(await bed.provider.sign({ exp: inPast(MINUTE) }));
    expect([status, body.code, body.detail]).toEqual([
      401,
      'secret_expired',
      expect.stringContaining('token has expired'),
    ]);
    const forged = (await bed.provider.sign({ exp: inPast(MINUTE) })).slice(0, -4);
    expect((await get(forged)).body.code).toBe('unauthenticated');
  });
});

it('the keys of the provider may change: a new one is found, and a withdrawn one is refused', async () => {
  // Not so often that the refusals meanwhile slow the address down.
  const PATIENT = { timeout: 15_000, interval: 500 };
  const changing = await startLoginBed();
  const status = async (token: string) =>
    (await changing.api.request('/clients/self', { headers: { authorization: `Bearer ${token}` } })).status;
  const old = await changing.provider.sign();
  expect(await status(old)).toBe(200);

  await changing.provider.stop();
  await changing.provider.start({ keys: [await makeKey('second'), ...changing.provider.options.keys] });
  const fresh = await changing.provider.sign();
  await expect.poll(() => status(fresh), PATIENT).toBe(200);
  expect(await status(old)).toBe(200);
  expect((await changing.logIn('anna')).answer.status).toBe(303);

  await changing.provider.stop();
  await changing.provider.start({ keys: [await makeKey('third')] });
  await expect.poll(async () => status(await changing.provider.sign()), PATIENT).toBe(200);
  expect([await status(old), await status(fresh)]).toEqual([401, 401]);
}, 90_000);

it('wrong tokens slow their address down, and never a valid one', async () => {
  const slowed = await startLoginBed();
  const send = async (token: string) =>
    (await slowed.api.request('/clients/self', { headers: { authorization: `Bearer ${token}` } })).status;
  const wrong = `${(await slowed.provider.sign()).slice(0, -4)}AAAA`;
  // Together, because an address gets another attempt every 600 ms.
  const statuses = await Promise.all(Array.from({ length: 200 }, () => send(wrong)));
  expect(statuses.filter((status) => status === 401).length).toBeGreaterThanOrEqual(100);
  expect(new Set(statuses)).toEqual(new Set([401, 429]));
  expect(await send(await slowed.provider.sign())).toBe(200);
}, 60_000);

it('while the provider is away, tokens with known keys are valid, and others are not wrong', async () => {
  const away = await startLoginBed();
  const send = async (token: string) =>
    (await away.api.request('/clients/self', { headers: { authorization: `Bearer ${token}` } })).body;
  const unknown = await away.provider.sign({}, { kid: 'unknown' });
  expect(await send(await away.provider.sign())).toMatchObject({ role: 'admin' });
  await away.provider.stop();
  expect(await send(await away.provider.sign())).toMatchObject({ role: 'admin' });
  await expect.poll(() => send(unknown), { timeout: 15_000 }).toMatchObject({ code: 'provider_unavailable' });
  // What can be seen without a key needs no provider.
  expect(await send(await away.provider.sign({ aud: 'other' }, { kid: 'unknown' }))).toMatchObject({
    code: 'unauthenticated',
  });
}, 60_000);

it('without OIDC_AUDIENCE, no token is accepted', async () => {
  const without = await startLoginBed({ env: { OIDC_AUDIENCE: '' } });
  const headers = { authorization: `Bearer ${await without.provider.sign()}` };
  expect((await without.api.request('/clients/self', { headers })).body.code).toBe('unauthenticated');
});
