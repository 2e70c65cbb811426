import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { startLoginBed, type LoginBed } from '../oidc/login-bed.ts';
import { createWalker } from '../oidc/walker.ts';
import { startHostileBrowser, type HostileBrowser } from './hostile-browser.ts';

/** People log in by a provider of another site, in a browser that also opens pages of an attacker. */
let bed: LoginBed;
let hostile: HostileBrowser;

beforeAll(async () => {
  [bed, hostile] = await Promise.all([startLoginBed({ host: 'localhost' }), startHostileBrowser()]);
}, 120_000);

interface Session {
  readonly status: number;
  readonly name: string | null;
}

/** Asks the API, from a page of its own, who the browser is logged in as. */
async function sessionIn(page: Page): Promise<Session> {
  await page.goto(`${bed.publicUrl}/docs/errors`);
  return page.evaluate<Session>(
    `fetch('/session').then(async (answer) => ({ status: answer.status, name: (await answer.json()).client?.name ?? null }))`,
  );
}

async function logIn(page: Page, person: string, returnTo = '/docs/errors'): Promise<void> {
  await page.goto(`${bed.publicUrl}/login?return_to=${encodeURIComponent(returnTo)}`);
  await page.fill('input[name=login]', person);
  await Promise.all([page.waitForURL(`${bed.publicUrl}/**`), page.click('form:first-of-type button')]);
}

const cookieNames = async (page: Page): Promise<string[]> =>
  (await page.context().cookies(bed.publicUrl)).map(({ name }) => name).toSorted();

describe('a person', () => {
  it('logs in at the form of the provider, and comes to the page that was wanted', async () => {
    const page = await hostile.openEvilPage();
    await logIn(page, 'anna', '/docs/errors#no_grant');
    expect(page.url()).toBe(`${bed.publicUrl}/docs/errors#no_grant`);
    expect(await sessionIn(page)).toEqual({ status: 200, name: 'oidc:anna@example.org' });

    const cookies = await page.context().cookies(bed.publicUrl);
    expect(cookies.map(({ name }) => name)).toEqual(['__Host-scheduler-session']);
    expect(cookies[0]).toMatchObject({ httpOnly: true, secure: true, sameSite: 'Lax', path: '/', domain: 'localhost' });
    expect(await page.evaluate('document.cookie')).toBe('');
  });

  it('without a grant, or who cancels, sees a page that runs and loads nothing', async () => {
    const page = await hostile.openEvilPage();
    await logIn(page, 'stranger');
    expect(new URL(page.url()).pathname).toBe('/login/callback');
    expect(await page.textContent('body')).toContain('the account "stranger@example.org" has no access');
    expect(await cookieNames(page)).toEqual([]);

    const other = await hostile.openEvilPage();
    await other.goto(`${bed.publicUrl}/login`);
    await Promise.all([other.waitForURL(`${bed.publicUrl}/**`), other.click('#cancel')]);
    expect(await other.textContent('body')).toContain('(access_denied)');
    expect(await other.textContent('body')).not.toContain('<b>');
    expect(await sessionIn(other)).toMatchObject({ status: 401 });
  });

  it('finds nothing under the button of the browser that goes back, and no second login', async () => {
    const page = await hostile.openEvilPage();
    await logIn(page, 'anna');
    const callbacks: string[] = [];
    page.on('request', (request) => {
      if (request.url().includes('/login/callback')) callbacks.push(request.url());
    });
    await page.goBack().catch(() => null);
    expect(callbacks).toEqual([]);
  });
});

describe('a page of an attacker', () => {
  it('cannot log the victim in as somebody else (login CSRF)', async () => {
    const own = await bed.comeBack(createWalker(), 'shop');
    for (const before of [null, 'anna']) {
      const victim = await hostile.openEvilPage();
      if (before !== null) await logIn(victim, before);
      await victim.goto(hostile.evilOrigin);
      await Promise.all([
        victim.waitForURL(`${bed.publicUrl}/**`),
        victim.evaluate(`location.href = ${JSON.stringify(own.href)}`),
      ]);
      expect(await victim.textContent('body')).toContain('login_failed');
      const session = await sessionIn(victim);
      expect(session.name).toBe(before === null ? null : 'oidc:anna@example.org');
    }
  });

  it('cannot lead anybody from a login to itself', async () => {
    for (const returnTo of [
      hostile.evilOrigin,
      `//${new URL(hostile.evilOrigin).host}/`,
      `/\\${new URL(hostile.evilOrigin).host}`,
    ]) {
      const victim = await hostile.openEvilPage();
      await logIn(victim, 'anna', returnTo);
      expect(victim.url()).toBe(`${bed.publicUrl}/`);
    }
  });

  it('neither reads nor changes anything with the session of the victim', async () => {
    const victim = await hostile.openEvilPage();
    await logIn(victim, 'anna');
    await victim.goto(hostile.evilOrigin);
    const read = await victim.evaluate<string>(
      `fetch('${bed.publicUrl}/session', { credentials: 'include' }).then((answer) => answer.text(), () => 'refused')`,
    );
    expect(read).toBe('refused');
    const form = `const form = document.createElement('form'); form.method = 'post';
      form.action = '${bed.publicUrl}/queues/default/pause'; document.body.append(form); form.submit();`;
    await Promise.all([victim.waitForURL(`${bed.publicUrl}/**`), victim.evaluate(form)]);
    expect(await bed.api.rows(`SELECT name FROM queues WHERE paused`)).toEqual([]);
  });

  it('cannot begin a login inside a frame, where nobody would see the address of the provider', async () => {
    const page = await hostile.openEvilPage();
    await page.setContent(`<iframe src="${bed.publicUrl}/login/callback"></iframe>`);
    const frame = page.frames()[1];
    await expect.poll(() => frame?.url()).not.toBe('about:blank');
    expect(await frame?.content()).not.toContain('login_failed');
  });
});
