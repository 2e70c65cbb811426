import { beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../../test/harness/stores.ts';
import {
  bomb,
  elsewhere,
  endless,
  hang,
  hangUp,
  json,
  METADATA,
  page,
  rubbish,
  stall,
  startHostileProvider,
  type Answer,
  type HostileProvider,
} from '../../../../test/oidc/hostile-provider.ts';
import { AUDIENCE, GRANTS, makeKey } from '../../../../test/oidc/identity-provider.ts';
import { startLoginBed, temporaryFile } from '../../../../test/oidc/login-bed.ts';
import { createWalker } from '../../../../test/oidc/walker.ts';
import { startApi, type RunningApi } from '../../../../test/running-api.ts';

/** The limit of one request, and time for the rest on a busy machine. */
const ANSWERED_WITHIN_MS = 5_000 + 2_500;

describe('a provider that is away', () => {
  it('does not keep the API from starting; people log in as soon as it is there, and again after it was away', async () => {
    const bed = await startLoginBed({ startProvider: false });
    const refused = await bed.api.request('/login');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    expect(refused.body).toContain('Code: provider_unavailable.');
    expect((await bed.api.request('/readyz')).status).toBe(200);
    expect((await bed.api.request('/login-options')).body.provider).not.toBeNull();

    await bed.provider.start();
    await expect
      .poll(async () => (await bed.api.request('/login', { redirect: 'manual' })).status, { timeout: 10_000 })
      .toBe(302);
    const { walker, answer } = await bed.logIn('anna');
    expect(answer.status).toBe(303);

    const late = createWalker();
    const back = await bed.comeBack(late, 'anna');
    await bed.provider.stop();
    const lost = await late.visit(back.href);
    expect([lost.status, await lost.text()]).toEqual([503, expect.stringContaining('provider_unavailable')]);
    // A session does not need the provider, and neither does the beginning of a login: its metadata is known.
    const cookie = [...walker.cookies(bed.api.url)].map((pair) => pair.join('=')).join('; ');
    expect((await bed.api.request('/tasks', { headers: { cookie } })).status).toBe(200);

    await bed.provider.start();
    expect((await bed.logIn('shop')).answer.status).toBe(303);
  }, 60_000);
});

describe('a provider that answers what no provider answers', () => {
  let hostile: HostileProvider;
  let env: Record<string, string>;
  beforeAll(async () => {
    const stores = await createTestStores();
    env = { ...stores.env, AUTH: 'keys', PUBLIC_URL: 'http://127.0.0.1:8000', OIDC_CLIENT_ID: 'scheduler' };
    env['OIDC_GRANTS_FILE'] = temporaryFile('grants.json', GRANTS);
  });

  /** An API that has not asked the provider yet. */
  const start = async (
    answers: Readonly<Record<string, Answer>>,
    more: Record<string, string> = {},
  ): Promise<RunningApi> => {
    hostile = await startHostileProvider();
    for (const [path, answer] of Object.entries(answers)) hostile.answers.set(path, answer);
    return startApi({ ...env, PORT: '0', OIDC_ISSUER: hostile.issuer, ...more });
  };

  /** Expects that a person gets a page in time. */
  const expectUnavailable = async (api: RunningApi, path: string, init: RequestInit = {}): Promise<void> => {
    const beforeMs = performance.now();
    const { status, body } = await api.request(path, { redirect: 'manual', ...init });
    expect(performance.now() - beforeMs).toBeLessThan(ANSWERED_WITHIN_MS);
    expect([status, body]).toEqual([503, expect.stringContaining('Code: provider_unavailable.')]);
  };

  it.each<[string, Answer]>([
    ['nothing', hang],
    ['the beginning of an answer', stall],
    ['a gigabyte', endless],
    ['much that looks small', bomb],
    ['no JSON', rubbish],
    ['a page', page],
    ['no object', json('metadata')],
    ['nothing about itself', json({})],
    ['an error', json({ error: 'server_error' }, 500)],
    ['that there are too many requests', json({}, 429)],
    ['that there is nothing', json({}, 404)],
    ['that it is elsewhere', elsewhere('http://127.0.0.1:1/')],
    ['by hanging up', hangUp],
  ])(
    'as metadata: %s',
    async (_, answer) => {
      const before = process.memoryUsage().rss;
      const api = await start({ [METADATA]: answer });
      await expectUnavailable(api, '/login');
      expect((await api.request('/readyz')).status).toBe(200);
      if (answer === endless) expect(hostile.taken()).toBeLessThan(64 * 2 ** 20);
      expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
    },
    30_000,
  );

  it.each<[string, (metadata: Record<string, unknown>) => Record<string, unknown>]>([
    ['another issuer', (metadata) => ({ ...metadata, issuer: 'https://login.example.org' })],
    ['the issuer in another spelling', (metadata) => ({ ...metadata, issuer: `${String(metadata['issuer'])}/` })],
    ['no token endpoint', (metadata) => ({ ...metadata, token_endpoint: undefined })],
    ['no keys', (metadata) => ({ ...metadata, jwks_uri: undefined })],
    ['a page that is a script', (metadata) => ({ ...metadata, authorization_endpoint: 'javascript:alert(1)' })],
    ['a file as keys', (metadata) => ({ ...metadata, jwks_uri: 'file:///etc/passwd' })],
  ])('metadata with %s', async (_, change) => {
    const api = await start({});
    hostile.answers.set(METADATA, json(change({ ...hostile.metadata })));
    await expectUnavailable(api, '/login');
  });

  it('is not asked more than once a second, however many people want to log in', async () => {
    const api = await start({ [METADATA]: hangUp });
    const beforeMs = performance.now();
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 20 }, () => expectUnavailable(api, '/login')));
    }
    const seconds = Math.ceil((performance.now() - beforeMs) / 1_000);
    expect(hostile.asked(METADATA)).toBeGreaterThan(0);
    expect(hostile.asked(METADATA)).toBeLessThanOrEqual(1 + seconds);
  });

  it('cannot make PKCE go away', async () => {
    const api = await start({});
    hostile.answers.set(METADATA, json({ ...hostile.metadata, code_challenge_methods_supported: ['plain'] }));
    const { headers } = await api.request('/login', { redirect: 'manual' });
    const { searchParams: sent } = new URL(headers.get('location') ?? '');
    expect([sent.get('code_challenge_method'), sent.get('code_challenge')?.length]).toEqual(['S256', 43]);
  });

  describe.each<[string, Answer]>([
    ['nothing', hang],
    ['a gigabyte', endless],
    ['no JSON', rubbish],
    ['an error of its own', json({ error: 'server_error' }, 503)],
    ['by hanging up', hangUp],
  ])('when it is asked for something else, %s', (_, answer) => {
    it('as token endpoint', async () => {
      const api = await start({ '/token': answer });
      const walker = createWalker();
      const begun = await walker.visit(`${api.url}/login`);
      const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state');
      const cookie = [...walker.cookies(api.url)].map((pair) => pair.join('=')).join('; ');
      await expectUnavailable(api, `/login/callback?code=x&state=${state}`, { headers: { cookie } });
    }, 30_000);

    it('as keys: an access token is not wrong because its key cannot be looked up', async () => {
      const api = await start({ '/jwks': answer }, { OIDC_AUDIENCE: AUDIENCE });
      const { SignJWT, importJWK } = await import('jose');
      const token = await new SignJWT({ iss: hostile.issuer, aud: AUDIENCE, exp: Date.now() / 1_000 + 60 })
        .setProtectedHeader({ alg: 'RS256', kid: 'a' })
        .sign(await importJWK(await makeKey('a'), 'RS256'));
      const get = () => api.request('/tasks', { headers: { authorization: `Bearer ${token}` } });
      const beforeMs = performance.now();
      const refused = await get();
      expect(performance.now() - beforeMs).toBeLessThan(ANSWERED_WITHIN_MS);
      expect([refused.status, refused.body.code]).toEqual([503, 'provider_unavailable']);
      expect(refused.headers.get('retry-after')).toBe('5');
      // All requests of the same moment share one question.
      const asked = hostile.asked('/jwks');
      await Promise.all(Array.from({ length: 20 }, get));
      expect(hostile.asked('/jwks') - asked).toBeLessThanOrEqual(Math.ceil((performance.now() - beforeMs) / 1_000));
    }, 30_000);
  });

  it('more logins than may wait for it are refused at once', async () => {
    const api = await start({ '/token': hang });
    const begin = async () => {
      const walker = createWalker();
      const begun = await walker.visit(`${api.url}/login`);
      const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state');
      const cookie = [...walker.cookies(api.url)].map((pair) => pair.join('=')).join('; ');
      return { path: `/login/callback?code=x&state=${state}`, headers: { cookie } };
    };
    const logins = await Promise.all(Array.from({ length: 60 }, begin));
    const beforeMs = performance.now();
    const times = await Promise.all(
      logins.map(async ({ path, headers }) => {
        await expectUnavailable(api, path, { headers });
        return performance.now() - beforeMs;
      }),
    );
    expect(times.filter((ms) => ms < 3_000).length).toBe(10);
  }, 30_000);
});
