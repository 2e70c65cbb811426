import type { BrowserContext, Page } from 'playwright-core';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { as, clientsInFiles, secretOf } from '../harness/clients.ts';
import { createTestStores } from '../harness/stores.ts';
import { startApi, type RunningApi } from '../running-api.ts';
import { attack, EVIL, OURS, startHostileBrowser, type HostileBrowser } from './hostile-browser.ts';

/**
 * People who are logged in, and pages of an attacker in the same browser. The pages must neither use nor take over nor
 * end the session, and they must not log the victim in under a name of the attacker's.
 */
let api: RunningApi;
let hostile: HostileBrowser;
/** The API as the victim's browser knows it. */
let origin: string;
let port: number;
let taskId: string;
let victim: BrowserContext;

beforeAll(async () => {
  const stores = await createTestStores();
  const clients = clientsInFiles({ victim: { role: 'admin' }, attacker: { role: 'admin' } });
  [api, hostile] = await Promise.all([startApi({ ...stores.env, ...clients }), startHostileBrowser()]);
  port = Number(new URL(api.url).port);
  origin = `http://localhost:${port}`;
  const submitted = await api.post('/tasks', { payload: { card: 'the-secret-payload' } }, as('victim'));
  taskId = submitted.body.id as string;
});

beforeEach(async () => {
  victim = await hostile.newVictim();
});

const NAME = '__Host-scheduler-session';

type Answer = readonly [what: string, status: number, text: string];

/** Sends requests from a page to its own server, without a key. */
const ask = (page: Page, requests: readonly (readonly string[])[]): Promise<Answer[]> =>
  attack(page, 'askOwnServer', { requests, key: {} });

const logInBody = (name: string): string => JSON.stringify({ secret: secretOf(name) });

/** Opens a page of the API, on which the victim logs in. Returns the answer. */
async function logIn(at = origin): Promise<{ page: Page; status: number; text: string }> {
  const page = await victim.newPage();
  await page.addInitScript({ path: `${import.meta.dirname}/hostile-page.js` });
  await page.goto(`${at}/docs/errors`);
  const [answer] = await ask(page, [['POST', '/session', logInBody('victim')]]);
  return { page, status: answer?.[1] ?? 0, text: answer?.[2] ?? '' };
}

/** Who the API takes the victim's browser for. */
async function whoIs(page: Page): Promise<string> {
  const [[, status, text]] = (await ask(page, [['GET', '/session']])) as [Answer];
  return status === 200 ? (JSON.parse(text) as { client: { name: string } }).client.name : String(status);
}

const sessionsOf = (client: string) =>
  api.rows<{ id: string }>('SELECT id FROM sessions WHERE client = $1 ORDER BY created_at', [client]);

/** Everything that an attack could have changed. */
async function state(): Promise<unknown> {
  return Promise.all([
    api.rows('SELECT name, paused, keep_completed FROM queues ORDER BY name'),
    api.rows('SELECT id, status, cancel_requested_at FROM tasks ORDER BY id'),
    api.rows('SELECT id, client FROM sessions ORDER BY id'),
    api.rows('SELECT name FROM clients ORDER BY name'),
  ]);
}

const effects = (): string[] => [
  '/queues/default/pause',
  `/tasks/${taskId}/cancel`,
  `/dlq/${taskId}/requeue`,
  '/dlq/requeue',
  '/tasks',
  '/clients',
  '/clients/attacker/rotate',
  '/session',
];

describe('the cookie of a session', () => {
  it.each(['localhost', '127.0.0.1'])('works in a browser on http://%s', async (host) => {
    const { page, status } = await logIn(`http://${host}:${port}`);
    expect(status).toBe(200);
    expect(await whoIs(page)).toBe('victim');
    const [[, paused]] = (await ask(page, [['POST', '/queues/default/resume']])) as [Answer];
    expect(paused).toBe(200);
    const [[, loggedOut]] = (await ask(page, [['DELETE', '/session']])) as [Answer];
    expect(loggedOut).toBe(204);
    expect(await whoIs(page)).toBe('401');
    expect(await victim.cookies()).toEqual([]);
  });

  it('is not kept by a browser that reaches another host without TLS', async () => {
    const named = await startApi({
      ...(await createTestStores()).env,
      ...clientsInFiles({ victim: { role: 'admin' } }),
      ALLOWED_HOSTS: OURS,
    });
    const { page, status } = await logIn(`http://${OURS}:${new URL(named.url).port}`);
    expect(status).toBe(200);
    expect(await victim.cookies()).toEqual([]);
    expect(await whoIs(page)).toBe('401');
  });

  it('cannot be read or replaced by a script, not even by one of our own pages', async () => {
    const { page, text } = await logIn();
    const [cookie] = await victim.cookies();
    expect(cookie).toMatchObject({ name: NAME, httpOnly: true, secure: true, sameSite: 'Lax', path: '/' });
    expect(text).not.toContain(cookie?.value);
    for (const set of [
      `${NAME}=${'A'.repeat(43)}; Path=/; Secure`,
      `${NAME}=${'A'.repeat(43)}; Path=/; Secure; Max-Age=0`,
      `${NAME}=${'A'.repeat(43)}`,
      `${NAME}=${'A'.repeat(43)}; Path=/session; Secure`,
      `=${NAME}=${'A'.repeat(43)}; Path=/; Secure`,
    ]) {
      const seen = await page.evaluate<string>(`document.cookie = ${JSON.stringify(set)}; document.cookie`);
      expect(seen).toBe('');
    }
    expect(await whoIs(page)).toBe('victim');
  });
});

describe('a page of another site', () => {
  it('cannot log the victim in under a name of the attacker', async () => {
    const body = logInBody('attacker');
    const begin = `${body.slice(0, -1)},"x":"`;
    for (const from of [hostile.evilOrigin, hostile.neighbourOrigin]) {
      const page = await hostile.openEvilPage(victim, from);
      for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
        await attack(page, 'sendForms', { origin, paths: ['/session'], enctype, begin });
      }
      await attack(page, 'sendBody', { origin, path: '/session', body });
    }
    expect(await victim.cookies()).toEqual([]);
    expect(await sessionsOf('attacker')).toEqual([]);
    // With a session of the victim, it stays that of the victim.
    const { page: own } = await logIn();
    const page = await hostile.openEvilPage(victim);
    await attack(page, 'sendBody', { origin, path: '/session', body });
    expect(await whoIs(own)).toBe('victim');
  });

  it.each(['a page of another site', 'a page of another server on the same machine'])(
    'changes nothing with the session, and does not end it: %s',
    async (which) => {
      const { page: own } = await logIn();
      const before = await state();
      const from = which.includes('machine') ? hostile.neighbourOrigin : hostile.evilOrigin;
      const page = await hostile.openEvilPage(victim, from);
      await attack(page, 'sendForms', { origin, paths: effects(), enctype: 'text/plain' });
      await attack(page, 'sendEverything', { origin, paths: effects() });
      for (const path of ['/session', '/sessions?client=victim', '/queues/default']) {
        await attack(page, 'sendBody', { origin, path, body: '{}' });
      }
      expect(await state()).toEqual(before);
      expect(await whoIs(own)).toBe('victim');
    },
  );

  it('changes nothing with a form that leaves the page, with which browsers send more cookies', async () => {
    const { page: own } = await logIn();
    const before = await state();
    for (const path of effects()) {
      const page = await hostile.openEvilPage(victim);
      const answered = page.waitForResponse((response) => response.url() === origin + path);
      await attack(page, 'leaveWithForm', { url: origin + path });
      expect([401, 403]).toContain((await answered).status());
      await page.close();
    }
    expect(await state()).toEqual(before);
    expect(await whoIs(own)).toBe('victim');
  });

  it('reads nothing with the session: not with fetch, not as script, picture or frame', async () => {
    const { page: own } = await logIn();
    expect(await whoIs(own)).toBe('victim');
    const paths = ['/session', `/tasks/${taskId}`, '/tasks', '/sessions', '/audit', '/clients/self'];
    for (const from of [hostile.evilOrigin, hostile.neighbourOrigin]) {
      const page = await hostile.openEvilPage(victim, from);
      expect(await attack<string[]>(page, 'readEverything', { origin, paths })).toEqual([]);
      await attack(page, 'openFrame', { url: `${origin}/tasks/${taskId}` });
      const framed = await Promise.all(page.frames().map((frame) => frame.content().catch(() => '')));
      expect(framed.join()).not.toContain('the-secret-payload');
    }
  });
});

describe('a page that reaches the API under a name of its own (DNS rebinding)', () => {
  it('has no session, and gets none, not even one of its own', async () => {
    await logIn();
    const before = await state();
    const page = await hostile.openReboundPage(port, victim);
    const reads = ['/session', `/tasks/${taskId}`, '/tasks', '/sessions', '/clients', '/audit', '/stats', '/metrics'];
    const read = await ask(
      page,
      reads.map((path) => ['GET', path]),
    );
    expect(read.map(([, status]) => status)).toEqual(reads.map(() => 401));
    const [[, opened], [, ended]] = (await ask(page, [
      ['POST', '/session', logInBody('attacker')],
      ['DELETE', '/session'],
    ])) as [Answer, Answer];
    expect([opened, ended]).toEqual([421, 421]);
    const changed = await ask(
      page,
      effects()
        .slice(0, -1)
        .map((path) => ['POST', path]),
    );
    expect(changed.map(([, status]) => status)).toEqual(changed.map(() => 401));
    expect(JSON.stringify([read, changed])).not.toContain('the-secret-payload');
    expect(await state()).toEqual(before);
    expect((await victim.cookies(`http://${EVIL}:${port}`)).map(({ name }) => name)).toEqual([]);
  });
});
