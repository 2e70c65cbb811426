import { beforeAll, describe, expect, it } from 'vitest';
import { ELSEWHERE } from '../../../../test/harness/lured-elsewhere.ts';
import { startProcess } from '../../../../test/harness/processes.ts';
import { startLoginBed, temporaryFile, type LoginBed } from '../../../../test/oidc/login-bed.ts';
import { createWalker, logInAtProvider, type Walker } from '../../../../test/oidc/walker.ts';
import { startApi } from '../../../../test/running-api.ts';

const SESSION = '__Host-scheduler-session';
const LOGIN = '__Host-scheduler-login';

let bed: LoginBed;
beforeAll(async () => {
  bed = await startLoginBed();
}, 120_000);

/** Says who the browser is logged in as; null if it is not. */
async function whoIs(walker: Walker, url = bed.api.url): Promise<string | null> {
  const session = walker.cookies(bed.api.url).get(SESSION);
  const answer = await fetch(`${url}/session`, {
    headers: session === undefined ? {} : { cookie: `${SESSION}=${session}` },
  });
  const body = (await answer.json()) as { client?: { name: string } };
  return answer.status === 200 ? (body.client?.name ?? null) : null;
}

/** Expects that a callback logs nobody in, and returns its page. */
async function expectRefused(walker: Walker, answer: Response, status: number, code: string): Promise<string> {
  const text = await answer.text();
  expect([answer.status, text], text).toEqual([status, expect.stringContaining(`Code: ${code}.`)]);
  expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect(answer.headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
  expect(answer.headers.get('location')).toBeNull();
  expect(walker.cookies(bed.api.url).has(SESSION)).toBe(false);
  return text;
}

describe('a login', () => {
  it('ends where the person wanted to go, and the API knows who it is', async () => {
    const { walker, answer } = await bed.logIn('anna', '/ui/tasks?status=FAILED#list');
    expect(answer.status).toBe(303);
    expect(answer.headers.get('location')).toBe(`${bed.api.url}/ui/tasks?status=FAILED#list`);
    const [session] = answer.headers.getSetCookie();
    expect(session).toMatch(/^__Host-scheduler-session=[A-Za-z0-9_-]{43}; .*Path=\/.*/);
    for (const attribute of ['Secure', 'HttpOnly', 'SameSite=Lax']) expect(session).toContain(attribute);
    expect(session).not.toContain('Domain');
    expect(walker.cookies(bed.api.url).has(LOGIN)).toBe(false);
    expect(await whoIs(walker)).toBe('oidc:anna@example.org');
  });

  it('sends the browser to the provider with PKCE, state and nonce, and nothing of the verifier', async () => {
    const walker = createWalker();
    const url = await bed.begin(walker);
    const { searchParams: sent } = url;
    expect(url.origin).toBe(bed.provider.issuer);
    expect(Object.fromEntries(sent)).toMatchObject({
      client_id: 'scheduler',
      redirect_uri: `${bed.api.url}/login/callback`,
      response_type: 'code',
      scope: 'openid email groups',
      code_challenge_method: 'S256',
    });
    for (const name of ['code_challenge', 'state', 'nonce']) expect(sent.get(name)).toMatch(/^[\w-]{43}$/);
    expect(new Set(['code_challenge', 'state', 'nonce'].map((name) => sent.get(name))).size).toBe(3);
  });

  it('gives each person what the first matching grant says, and no more', async () => {
    const { walker } = await bed.logIn('shop');
    expect(await whoIs(walker)).toBe('oidc:shop@example.org');
    const cookie = `${SESSION}=${walker.cookies(bed.api.url).get(SESSION)}`;
    const get = (path: string) => bed.api.request(path, { headers: { cookie } });
    expect((await get('/tasks')).status).toBe(200);
    expect((await get('/queues/shop.mail')).body.code).toBe('queue_not_found');
    expect((await get('/queues/mail')).body.code).toBe('queue_not_allowed');
    expect((await get('/audit')).body.code).toBe('missing_scope');
    const submitted = await bed.api.post('/tasks', { queue: 'shop.mail' }, { cookie, origin: bed.api.url });
    expect(submitted.body.code).toBe('missing_scope');
  });

  it('does not need another one at the provider, which still knows the person', async () => {
    const { walker } = await bed.logIn('anna');
    const before = walker.cookies(bed.api.url).get(SESSION);
    const back = await logInAtProvider(walker, await bed.begin(walker), 'nobody, because there is no form');
    expect((await walker.visit(back.href)).status).toBe(303);
    expect(walker.cookies(bed.api.url).get(SESSION)).not.toBe(before);
    expect(await whoIs(walker)).toBe('oidc:anna@example.org');
  });

  it('can begin at one replica and end at another', async () => {
    const other = await startApi({ ...bed.env, PORT: '0' });
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    const cookie = `${LOGIN}=${walker.cookies(bed.api.url).get(LOGIN)}`;
    const ended = await fetch(`${other.url}${back.pathname}${back.search}`, {
      headers: { cookie },
      redirect: 'manual',
    });
    expect(ended.status).toBe(303);
    expect(ended.headers.get('location')).toBe(`${bed.api.url}/`);
    const [session = ''] = ended.headers.getSetCookie()[0]!.split(';');
    walker.cookies(bed.api.url).set(SESSION, session.slice(SESSION.length + 1));
    expect(await whoIs(walker)).toBe('oidc:anna@example.org');
    expect(await whoIs(walker, other.url)).toBe('oidc:anna@example.org');
  });

  it('works with a provider that puts everything into the ID token', async () => {
    const whole = await startLoginBed({ provider: { claimsInIdToken: true } });
    const { answer } = await whole.logIn('shop');
    expect(answer.status).toBe(303);
  }, 60_000);

  it.each(ELSEWHERE)('never leads elsewhere: return_to=%j', async (returnTo) => {
    const { answer } = await bed.logIn('anna', returnTo);
    expect([answer.status, answer.headers.get('location')]).toEqual([303, `${bed.api.url}/`]);
  });

  it('takes a return_to that is given twice for none', async () => {
    const walker = createWalker();
    const begun = await walker.visit(`${bed.api.url}/login?return_to=/ui&return_to=//evil.example`);
    const back = await logInAtProvider(walker, new URL(begun.headers.get('location') ?? ''), 'anna');
    expect((await walker.visit(back.href)).headers.get('location')).toBe(`${bed.api.url}/`);
  });

  it('tells who may log in how, and leaves a row in the audit log', async () => {
    expect((await bed.api.request('/login-options')).body).toEqual({
      secret: true,
      provider: { name: new URL(bed.provider.issuer).host, url: '/login' },
    });
    const { walker } = await bed.logIn('anna');
    const cookie = `${SESSION}=${walker.cookies(bed.api.url).get(SESSION)}`;
    const { body } = await bed.api.request('/audit?action=session.open&limit=1', { headers: { cookie } });
    expect(body.items[0]).toMatchObject({ client: 'oidc:anna@example.org', outcome: 'allowed', address: '127.0.0.1' });
  });
});

describe('an account', () => {
  it.each([
    ['stranger', 'no_grant', 'the account &quot;stranger@example.org&quot; has no access'],
    ['unverified', 'identity_incomplete', 'has not verified the address'],
    ['nameless', 'identity_incomplete', 'gives no claim `email`'],
    ['groupless', 'identity_incomplete', 'gives no claim `groups`'],
  ])('%s is refused: %s', async (person, code, detail) => {
    const { walker, answer } = await bed.logIn(person);
    const page = await expectRefused(walker, answer, 403, code);
    expect(page).toContain(detail);
    expect(page).not.toContain('scheduler-admins');
    expect(walker.cookies(bed.api.url).has(LOGIN)).toBe(false);
    const client = code === 'no_grant' ? `oidc:${person}@example.org` : '';
    const text = `SELECT 1 FROM audit WHERE action = 'session.open' AND outcome = 'refused' AND code = $1 AND client = $2`;
    await expect.poll(() => bed.api.rows(text, [code, client]), { timeout: 10_000 }).not.toEqual([]);
  });

  it('that cancels the login gets a page, without anything that the provider has written', async () => {
    const { walker, answer } = await bed.logIn(null);
    const page = await expectRefused(walker, answer, 400, 'login_failed');
    expect(page).toContain('(access_denied)');
    expect(page).not.toContain('<b>no</b>');
  });
});

describe('a callback', () => {
  /** Visits an address that differs from the one with which the provider has sent the browser back. */
  const changed = async (change: (url: URL) => void, status = 400, code = 'login_failed') => {
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    const url = new URL(back);
    change(url);
    await expectRefused(walker, await walker.visit(url.href), status, code);
    return { walker, back };
  };

  it('with another state is refused, and the login that is under way goes on', async () => {
    const { walker, back } = await changed((url) => url.searchParams.set('state', 'a'.repeat(43)));
    expect((await walker.visit(back.href)).status).toBe(303);
  });

  it.each<[string, (url: URL) => void]>([
    ['without a state', (url) => url.searchParams.delete('state')],
    ['with two states', (url) => url.searchParams.append('state', url.searchParams.get('state') ?? '')],
    ['without anything', (url) => (url.search = '')],
  ])('%s is refused, and the login goes on', async (_, change) => {
    const { walker, back } = await changed(change);
    expect((await walker.visit(back.href)).status).toBe(303);
  });

  it.each<[string, (url: URL) => void]>([
    ['without a code', (url) => url.searchParams.delete('code')],
    ['with a code that nobody has given', (url) => url.searchParams.set('code', 'x'.repeat(43))],
    ['with two codes', (url) => url.searchParams.append('code', 'x')],
    ['of another issuer (mix-up)', (url) => url.searchParams.set('iss', 'https://evil.example')],
    ['without the issuer, which this provider names', (url) => url.searchParams.delete('iss')],
    ['with an ID token in the address', (url) => url.searchParams.set('id_token', 'a.b.c')],
    ['with an answer in another form', (url) => url.searchParams.set('response', 'a.b.c')],
    ['with an error that is a page', (url) => url.searchParams.set('error', '<script>alert(1)</script>')],
  ])('%s is refused, and ends the login', async (_, change) => {
    const { walker } = await changed(change);
    expect(walker.cookies(bed.api.url).has(LOGIN)).toBe(false);
  });

  it('that is repeated is refused: the login has ended', async () => {
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    expect((await walker.visit(back.href)).status).toBe(303);
    walker.cookies(bed.api.url).delete(SESSION);
    const page = await expectRefused(walker, await walker.visit(back.href), 400, 'login_failed');
    expect(page).toContain('has ended already');
  });

  it('that is repeated with a copy of the cookie is refused by the provider, which takes a code once', async () => {
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    const copy = walker.cookies(bed.api.url).get(LOGIN) ?? '';
    expect((await walker.visit(back.href)).status).toBe(303);
    walker.cookies(bed.api.url).clear();
    walker.cookies(bed.api.url).set(LOGIN, copy);
    await expectRefused(walker, await walker.visit(back.href), 400, 'login_failed');
  });

  it('in a browser that has begun no login is refused (login CSRF)', async () => {
    const attacker = createWalker();
    const back = await bed.comeBack(attacker, 'shop');
    const victim = createWalker();
    await expectRefused(victim, await victim.visit(back.href), 400, 'login_failed');
    const busy = createWalker();
    const own = await bed.comeBack(busy, 'anna');
    await expectRefused(busy, await busy.visit(back.href), 400, 'login_failed');
    expect((await busy.visit(own.href)).status).toBe(303);
    expect(await whoIs(busy)).toBe('oidc:anna@example.org');
  });

  it('with the code of another login is refused (PKCE)', async () => {
    const [attacker, victim] = [createWalker(), createWalker()];
    const stolen = await bed.comeBack(victim, 'anna');
    const own = await bed.comeBack(attacker, 'shop');
    own.searchParams.set('code', stolen.searchParams.get('code') ?? '');
    await expectRefused(attacker, await attacker.visit(own.href), 400, 'login_failed');
  });

  it.each<[string, (url: URL) => void]>([
    ['with another nonce', (url) => url.searchParams.set('nonce', 'n'.repeat(43))],
    ['without a nonce', (url) => url.searchParams.delete('nonce')],
    [
      'without PKCE, which somebody has removed on the way (downgrade)',
      (url) => {
        url.searchParams.delete('code_challenge');
        url.searchParams.delete('code_challenge_method');
      },
    ],
    [
      'with a verifier that somebody else knows',
      (url) => {
        url.searchParams.set('code_challenge', 'c'.repeat(43));
        url.searchParams.set('code_challenge_method', 'plain');
      },
    ],
  ])('of a login that was begun %s is refused', async (_, change) => {
    const walker = createWalker();
    const to = await bed.begin(walker);
    change(to);
    const back = await logInAtProvider(walker, to, 'anna').catch(() => null);
    // The provider may refuse it itself.
    if (back === null) return;
    await expectRefused(walker, await walker.visit(back.href), 400, 'login_failed');
  });

  it.each<[string, (cookie: string) => string]>([
    [
      'that somebody has changed',
      (cookie) => `${cookie.slice(0, 30)}${cookie[30] === 'A' ? 'B' : 'A'}${cookie.slice(31)}`,
    ],
    ['that is not whole', (cookie) => cookie.slice(0, -10)],
    ['that is none of ours', () => 'e30'],
  ])('with a login cookie %s is refused', async (_, change) => {
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    const jar = walker.cookies(bed.api.url);
    jar.set(LOGIN, change(jar.get(LOGIN) ?? ''));
    const page = await expectRefused(walker, await walker.visit(back.href), 400, 'login_failed');
    expect(page).toContain('cannot be read');
  });

  it('of a login that has taken too long is refused, also if the browser has kept the cookie', async () => {
    const [{ key }] = (await bed.api.rows<{ key: Buffer }>(`SELECT key FROM sealing_keys WHERE name = 'logins'`)) as [
      { key: Buffer },
    ];
    const { createLoginStates } = await import('./login-state.ts');
    const { createSeal } = await import('../../../http/seal.ts');
    const belongsTo = { issuer: bed.provider.issuer, client: 'scheduler' };
    const past = () => Date.now() - 600_000;
    const { state, cookie } = await createLoginStates(
      createSeal(async () => key),
      belongsTo,
      past,
    ).begin('/');
    const walker = createWalker();
    walker.cookies(bed.api.url).set(LOGIN, cookie.slice(LOGIN.length + 1).split(';')[0] ?? '');
    const answer = await walker.visit(`${bed.api.url}/login/callback?code=x&state=${state.state}`);
    expect(await expectRefused(walker, answer, 400, 'login_failed')).toContain('longer than ten minutes');
  });

  it('is only for GET, and headers of proxies change nothing', async () => {
    const posted = await bed.api.request('/login/callback?code=a&state=b', { method: 'POST' });
    expect([posted.status, posted.body.code]).toEqual([405, 'method_not_allowed']);
    const forwarded = await fetch(`${bed.api.url}/login`, {
      redirect: 'manual',
      headers: { 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'https', Forwarded: 'host=evil.example' },
    });
    const to = new URL(forwarded.headers.get('location') ?? '');
    expect(to.searchParams.get('redirect_uri')).toBe(`${bed.api.url}/login/callback`);
  });
});

describe('the log', () => {
  it('says why a login failed, and has neither code nor secret nor token', async () => {
    const wrong = { OIDC_CLIENT_SECRET: 'a wrong secret of the client', PORT: '0', LOG_LEVEL: 'trace' };
    const api = startProcess(['node', 'src/main.ts', 'api'], { ...bed.env, ...wrong });
    const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
    const walker = createWalker();
    const back = await bed.comeBack(walker, 'anna');
    const cookie = `${LOGIN}=${walker.cookies(bed.api.url).get(LOGIN)}`;
    const answer = await fetch(`http://127.0.0.1:${port as number}${back.pathname}${back.search}`, {
      headers: { cookie },
    });
    expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining('(invalid_client)')]);
    const line = await api.waitForLine(({ msg }) => msg === 'a login did not succeed');
    expect(line).toMatchObject({
      level: 'warn',
      code: 'login_failed',
      reason: expect.stringContaining('invalid_client'),
    });
    api.signal('SIGTERM');
    await api.waitForExit();
    const secrets = [
      back.searchParams.get('code'),
      back.searchParams.get('state'),
      'a wrong secret',
      cookie.slice(-40),
    ];
    for (const secret of secrets) expect(api.output).not.toContain(secret);
  });
});

describe('settings', () => {
  it('a file of grants that cannot be used keeps the API from starting, and says why', async () => {
    const grants = temporaryFile('grants.json', JSON.stringify([{ value: 'shop', role: 'boss' }]));
    const api = startProcess(['node', 'src/main.ts', 'api'], { ...bed.env, OIDC_GRANTS_FILE: grants, PORT: '0' });
    expect((await api.waitForExit()).code).toBe(1);
    expect(api.output).toContain('entry 1: role: expected one of submitter, viewer');
    expect(api.output).toContain('boss');
  });

  it('without a provider there are no pages for a login', async () => {
    const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_AUDIENCE, OIDC_GRANTS_FILE, ...env } = bed.env;
    expect([OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_AUDIENCE, OIDC_GRANTS_FILE]).not.toContain(undefined);
    const api = await startApi({ ...env, PORT: '0' });
    for (const path of ['/login', '/login/callback']) expect((await api.request(path)).body.code).toBe('not_found');
    expect((await api.request('/login-options')).body).toEqual({ secret: true, provider: null });
  });
});
