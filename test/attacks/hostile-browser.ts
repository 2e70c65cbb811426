import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { findOnPath } from '../../scripts/stores/binaries.ts';
import { atEndOfFile } from '../harness/end-of-file.ts';

/** The domain of the attacker. The browser resolves it, and every name below it, to 127.0.0.1. */
export const EVIL = 'evil.test';

/** A name that leads to 127.0.0.1 as well, but belongs to whoever runs the service. */
export const OURS = 'tasks.test';

export interface HostileBrowser {
  /** Origin of a web server of the attacker; it answers everything with an empty page. */
  readonly evilOrigin: string;
  /** The same server on this machine, under the name that the victim uses for other servers as well. */
  readonly neighbourOrigin: string;
  /** Starts a profile of the browser with cookies of its own. */
  newVictim(): Promise<BrowserContext>;
  /**
   * Opens an empty page of the attacker.
   * @param victim whose browser opens it. Default: somebody without cookies
   */
  openEvilPage(victim?: BrowserContext, origin?: string): Promise<Page>;
  /**
   * Opens a page of the attacker whose origin has the port of another server. The page is served once, then the name
   * leads to that server: what an attacker does by changing the DNS record (DNS rebinding).
   */
  openReboundPage(port: number, victim?: BrowserContext): Promise<Page>;
}

/** Calls a function of `hostile-page.js` in a page. */
export function attack<Result = void>(page: Page, name: string, args: unknown): Promise<Result> {
  return page.evaluate<Result>(`attack.${name}(${JSON.stringify(args)})`);
}

/** Starts Chromium as a victim uses it, and a web server of the attacker. */
export async function startHostileBrowser(): Promise<HostileBrowser> {
  const executablePath = findOnPath('chromium');
  if (executablePath === null) throw new Error('the attacks need chromium: `apt-get install chromium`');
  const site = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>win a prize</title><body></body>');
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  atEndOfFile(async () => {
    site.closeAllConnections();
    site.close();
  });
  const browser: Browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-dev-shm-usage',
      // New browsers ask the visitor before a page reaches the local network. Others do not, so this must not be
      // needed.
      '--disable-features=LocalNetworkAccessChecks',
      `--host-resolver-rules=MAP ${EVIL} 127.0.0.1, MAP *.${EVIL} 127.0.0.1, MAP ${OURS} 127.0.0.1`,
    ],
  });
  atEndOfFile(() => browser.close());
  const newPage = async (victim?: BrowserContext): Promise<Page> => {
    const page = await (victim ?? browser).newPage();
    await page.addInitScript({ path: join(import.meta.dirname, 'hostile-page.js') });
    return page;
  };
  const { port: evilPort } = site.address() as AddressInfo;
  const evilOrigin = `http://${EVIL}:${evilPort}`;

  return {
    evilOrigin,
    neighbourOrigin: `http://localhost:${evilPort}`,
    newVictim: () => browser.newContext(),
    async openEvilPage(victim, origin = evilOrigin) {
      const page = await newPage(victim);
      await page.goto(origin);
      return page;
    },
    async openReboundPage(port, victim) {
      const page = await newPage(victim);
      const origin = `http://${EVIL}:${port}`;
      await page.route(`${origin}/`, (route) => route.fulfill({ contentType: 'text/html', body: '<body></body>' }), {
        times: 1,
      });
      await page.goto(`${origin}/`);
      return page;
    },
  };
}
