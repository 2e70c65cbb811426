import { beforeAll, describe, expect, it } from 'vitest';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startApi, type RunningApi } from '../running-api.ts';
import { attack, startHostileBrowser, type HostileBrowser } from './hostile-browser.ts';

/**
 * An API on the victim's own machine that asks nobody for a secret, as `scripts/up` starts it. The victim opens pages
 * of an attacker in a browser. The pages must neither change nor read anything.
 */
let api: RunningApi;
let hostile: HostileBrowser;
let taskId: string;

beforeAll(async () => {
  const stores = await createTestStores();
  [api, hostile] = await Promise.all([startApi(stores.env), startHostileBrowser()]);
  const submitted = await api.post('/tasks', { payload: { card: 'the-secret-payload' } });
  taskId = submitted.body.id as string;
});

/** Everything that an attack could have changed. */
async function state(): Promise<unknown> {
  const [queues, tasks] = await Promise.all([
    api.rows('SELECT name, paused, keep_completed FROM queues ORDER BY name'),
    api.rows('SELECT id, status, cancel_requested_at FROM tasks ORDER BY id'),
  ]);
  return { queues, tasks };
}

/** Requests with an effect that need no body, or take one that a form can send. */
const effects = (): string[] => [
  '/queues/default/pause',
  '/queues/default/resume',
  `/tasks/${taskId}/cancel`,
  `/dlq/${taskId}/requeue`,
  '/dlq/requeue',
  '/tasks',
  '/tasks/batch',
];

/** How many answers the API has given so far, by status. Browsers hide most answers from a page of another site. */
async function answers(): Promise<Record<string, number>> {
  const text = (await api.request('/metrics')).body as string;
  const counts: Record<string, number> = {};
  for (const [, route, status = '', count] of text.matchAll(
    /^scheduler_http_requests_total\{route="([^"]*)",status="(\d+)"\} (\d+)$/gm,
  )) {
    if (route !== '/metrics') counts[status] = (counts[status] ?? 0) + Number(count);
  }
  return counts;
}

/**
 * Runs an attack, and waits until the API has refused this many of its requests: a page is not told when a beacon or a
 * form has arrived. Returns the number of answers that the API has given to it, by status.
 */
async function answersTo(
  work: Promise<unknown>,
  before: Record<string, number>,
  refusals: number,
): Promise<Record<string, number>> {
  await work;
  let given: Record<string, number> = {};
  const count = async (): Promise<boolean> => {
    const after = Object.entries(await answers()).map(
      ([status, all]) => [status, all - (before[status] ?? 0)] as const,
    );
    given = Object.fromEntries(after.filter(([, more]) => more !== 0));
    return (given['403'] ?? 0) >= refusals;
  };
  await untilTrue(count, { describe: () => ({ refusals, given }) });
  return given;
}

describe('a page of another site', () => {
  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'])(
    'changes nothing with forms of the type %s',
    async (enctype) => {
      const [before, counted] = await Promise.all([state(), answers()]);
      const page = await hostile.openEvilPage();
      const work = attack(page, 'sendForms', { origin: api.url, paths: effects(), enctype });
      expect(await answersTo(work, counted, effects().length)).toEqual({ 403: effects().length });
      expect(await state()).toEqual(before);
    },
  );

  it('changes nothing with fetch, whatever the mode, and with beacons', async () => {
    const [before, counted] = await Promise.all([state(), answers()]);
    const page = await hostile.openEvilPage();
    const work = attack(page, 'sendEverything', { origin: api.url, paths: effects() });
    // Four requests that need no leave and a beacon for each path. The others ask for leave (OPTIONS) and get none.
    const given = await answersTo(work, counted, 5 * effects().length);
    expect(Object.keys(given)).toEqual(['403', '405']);
    expect(await state()).toEqual(before);
  });

  it('reads nothing: not with fetch, not as script, style, picture or frame', async () => {
    const page = await hostile.openEvilPage();
    const paths = [`/tasks/${taskId}`, '/tasks', '/queues', '/stats', '/metrics', '/openapi.json'];
    const read = await attack<string[]>(page, 'readEverything', { origin: api.url, paths });
    expect(read).toEqual([]);
  });

  it('shows none of our pages in a frame', async () => {
    const page = await hostile.openEvilPage();
    await attack(page, 'openFrame', { url: `${api.url}/docs` });
    const texts = await Promise.all(page.frames().map((frame) => frame.title().catch(() => '')));
    expect(texts).not.toContain('Distributed Task Scheduler');
  });
});

describe('a page that reaches the API under a name of its own (DNS rebinding)', () => {
  it('reads nothing and changes nothing, although its requests have the same origin', async () => {
    const before = await state();
    const page = await hostile.openReboundPage(Number(new URL(api.url).port));
    const reads = [`/tasks/${taskId}`, '/tasks', '/queues', '/stats', '/workers', '/dlq', '/metrics'];
    const requests = [
      ...reads.map((path) => ['GET', path]),
      ...effects().map((path) => ['POST', path]),
      ['DELETE', '/queues/default'],
      ['PUT', '/queues/default'],
    ];
    const given = await attack<[string, number, string][]>(page, 'askOwnServer', { requests });
    expect(given.map(([, status]) => status)).toEqual(given.map(() => 421));
    expect(JSON.stringify(given)).not.toContain('the-secret-payload');
    expect(await state()).toEqual(before);
  });
});

describe('a page of this server', () => {
  it('may do what the visitor may do', async () => {
    const page = await hostile.openEvilPage();
    await page.goto(`${api.url}/docs`);
    const requests = [['POST', '/queues/default/pause']];
    const [[, status]] = await attack<[[string, number]]>(page, 'askOwnServer', { requests });
    expect(status).toBe(200);
  });
});
