import { chromium, type Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { findOnPath } from '../../../scripts/stores/binaries.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../../test/running-api.ts';

// `scripts/test` installs the browser if it can, and reports it if it is missing.
const browserPath = findOnPath('chromium');

describe.skipIf(browserPath === null)('in a browser', () => {
  let api: RunningApi;
  let page: Page;
  /** Requests of the page to other origins, and errors and warnings of the browser. */
  const complaints: string[] = [];

  beforeAll(async () => {
    const [started, browser] = await Promise.all([
      createTestStores().then(({ env }) => startApi(env)),
      chromium.launch({ executablePath: browserPath as string, args: ['--no-sandbox', '--disable-dev-shm-usage'] }),
    ]);
    atEndOfFile(() => browser.close());
    api = started;
    page = await browser.newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('request', (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== api.url && protocol !== 'data:') complaints.push(`request to ${request.url()}`);
    });
  }, 30_000);

  it('/docs shows every route, and can submit a task', async () => {
    await page.goto(`${api.url}/docs`);
    const routes = page.locator('.opblock');
    await routes.first().waitFor();
    const { paths } = (await api.request('/openapi.json')).body as { paths: Record<string, object> };
    const described = Object.values(paths).flatMap((methods) => Object.keys(methods));
    expect(await routes.count()).toBe(described.length);

    const submit = page.locator('.opblock-post', { hasText: 'Submit a task' });
    await submit.locator('.opblock-summary').click();
    await submit.getByRole('button', { name: 'Try it out' }).click();
    // Two submissions without an idempotency key make two tasks.
    for (const count of [1, 2]) {
      await submit.getByRole('button', { name: 'Execute' }).click();
      await expect.poll(() => api.rows('SELECT FROM tasks'), { timeout: 15_000 }).toHaveLength(count);
    }
    const status = submit.locator('.live-responses-table .response .response-col_status');
    await expect.poll(() => status.first().textContent(), { timeout: 15_000 }).toContain('200');
    expect(complaints).toEqual([]);
  });

  it('/docs can list tasks: nothing is filled in that the API would refuse', async () => {
    await page.goto(`${api.url}/docs`);
    const list = page.locator('.opblock-get', { hasText: 'List tasks, newest first' });
    await list.locator('.opblock-summary').click();
    await list.getByRole('button', { name: 'Try it out' }).click();
    await list.getByRole('button', { name: 'Execute' }).click();
    const status = list.locator('.live-responses-table .response .response-col_status');
    await expect.poll(() => status.first().textContent(), { timeout: 15_000 }).toContain('200');
    expect(complaints).toEqual([]);
  });

  it('accepts every example body of the document', async () => {
    const { paths } = (await api.request('/openapi.json')).body as { paths: Record<string, { post?: any }> };
    const bodies = Object.entries(paths).flatMap(([path, { post }]) =>
      post?.requestBody?.required === true ? [[path, post.requestBody.content['application/json'].example]] : [],
    );
    expect(bodies.map(([path]) => path)).toEqual(['/tasks', '/tasks/batch', '/dlq/requeue', '/clients', '/session']);
    for (const [path, body] of bodies) {
      // Nobody logs in to an API that is open. It says so after it has accepted the body.
      const expected = { '/clients': 201, '/session': 409 }[path as string] ?? 200;
      expect((await api.post(path, body, { 'sec-fetch-site': 'same-origin' })).status, path).toBe(expected);
    }
  });

  it('/docs/errors shows the entry that the type of a problem points to', async () => {
    await page.goto(`${api.url}/docs/errors#rate_limited`);
    expect(await page.locator('#rate_limited').isVisible()).toBe(true);
    expect(complaints).toEqual([]);
  });
});
