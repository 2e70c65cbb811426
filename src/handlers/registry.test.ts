import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fakeHandlerContext } from '../../test/fake-handler-context.ts';
import { networkOf } from '../config/networks.ts';
import { readConfig } from '../config/read-config.ts';
import { FinalError } from '../core/errors.ts';
import { createHandlerRegistry, type HandlerRegistry, type HandlerRegistryOptions } from './registry.ts';
import { HandlersModuleError, loadTeamHandlers } from './team-handlers.ts';

const directory = mkdtempSync(join(tmpdir(), 'handlers-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function moduleOf(source: string, extension = 'mjs'): string {
  const path = join(directory, `module-${++files}.${extension}`);
  writeFileSync(path, source);
  return path;
}

function registryOf(config: Partial<HandlerRegistryOptions['config']> = {}): Promise<HandlerRegistry> {
  const defaults = readConfig({ DATABASE_URL: 'postgresql://u:p@h/d', REDIS_URL: 'redis://h' });
  return createHandlerRegistry({ config: { ...defaults, ...config }, simulate: () => 'simulated' });
}

async function run(registry: HandlerRegistry, action: string | null, payload: unknown = null): Promise<unknown> {
  return registry.resolve(action).handler(fakeHandlerContext(payload, { action }));
}

describe('the built-in handlers', () => {
  it('serve tasks without an action, and tasks that name them', async () => {
    const registry = await registryOf();
    expect(registry.actions()).toEqual(['http.request', 'simulate']);
    expect(registry.resolve(null).name).toBe('simulate');
    expect(await run(registry, null)).toBe('simulated');
    expect(await run(registry, 'simulate')).toBe('simulated');
  });

  it('do not include http.request if HTTP_TARGETS is off', async () => {
    const registry = await registryOf({ HTTP_TARGETS: [] });
    expect(registry.actions()).toEqual(['simulate']);
    await expect(run(registry, 'http.request', { url: 'http://127.0.0.1' })).rejects.toThrow(
      'the action "http.request" is switched off for this worker (HTTP_TARGETS)',
    );
  });

  it('include http.request, which refuses private networks unless they are allowed', async () => {
    const registry = await registryOf();
    expect(registry.resolve('http.request').name).toBe('http.request');
    await expect(run(registry, 'http.request', { url: 'http://127.0.0.1:9' })).rejects.toMatchObject({
      code: 'address_refused',
    });
    await registry.close();
    await registry.close();

    const open = await registryOf({ HTTP_ALLOWED_NETWORKS: [networkOf('127.0.0.0/8')] });
    await expect(run(open, 'http.request', { url: 'http://127.0.0.1:9' })).rejects.toMatchObject({
      code: 'http_unreachable',
    });
    await open.close();
  });

  it('include kubernetes.job if it is switched on and there is a token', async () => {
    const jobs = { KUBERNETES_JOBS: true, KUBERNETES_JOBS_IMAGES: ['busybox:1'], KUBERNETES_SERVICE_HOST: '127.0.0.1' };
    await expect(registryOf({ ...jobs, KUBERNETES_SERVICE_ACCOUNT: directory })).rejects.toThrow(
      'KUBERNETES_JOBS: expected a pod with a token',
    );
    for (const name of ['ca.crt', 'token', 'namespace']) writeFileSync(join(directory, name), name);
    const registry = await registryOf({ ...jobs, KUBERNETES_SERVICE_ACCOUNT: directory });
    expect(registry.actions()).toContain('kubernetes.job');
    await expect(run(registry, 'kubernetes.job', { image: 'busybox:2' })).rejects.toMatchObject({
      code: 'image_refused',
    });
    await registry.close();
  });

  it('need no close when nothing was used', async () => {
    const registry = await registryOf();
    await expect(registry.close()).resolves.toBeUndefined();
  });
});

describe('an unknown action', () => {
  const handlers = moduleOf(`export const mail = () => 'mailed';`);

  it.each(['report.build', 'toString', '__proto__', ''])(
    'runs simulate if no handlers are configured: %j',
    async (action) => {
      const registry = await registryOf();
      expect(registry.resolve(action).name).toBe('simulate');
      expect(await run(registry, action)).toBe('simulated');
    },
  );

  it('runs simulate in addition to handlers if the setting says so', async () => {
    const registry = await registryOf({ HANDLERS: handlers, SIMULATE_UNKNOWN_ACTIONS: true });
    expect(await run(registry, 'report.build')).toBe('simulated');
  });

  it.each<Partial<HandlerRegistryOptions['config']>>([
    { SIMULATE_UNKNOWN_ACTIONS: false },
    { SIMULATE_UNKNOWN_ACTIONS: 'auto', HANDLERS: handlers },
    { HANDLERS: handlers },
  ])('otherwise fails the task without retries, and the message lists the known actions: %j', async (config) => {
    const registry = await registryOf(config);
    const error = await run(registry, 'report.build').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FinalError);
    expect(error).toMatchObject({
      code: 'unknown_action',
      message: expect.stringMatching(/"report\.build" has no handler; known actions: http\.request, .*simulate/),
    });
    expect(registry.resolve('report.build').name).toBe('report.build');
    expect(await run(registry, null)).toBe('simulated');
  });

  it('is never simulated if it is a built-in action that is switched off', async () => {
    const error = await run(await registryOf(), 'kubernetes.job').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'unknown_action', message: expect.stringContaining('KUBERNETES_JOBS') });
  });
});

describe("the team's module", () => {
  it('provides a handler for every named export that is a function, and for every entry of `actions`', async () => {
    const path = moduleOf(`
      export const VERSION = 1;
      export class Mailer {}
      export function resize({ payload }) { return payload.width * 2; }
      export const shrink = async () => 'small';
      export const actions = { 'email.send': ({ attemptToken }) => attemptToken };
      export default () => 'never';
    `);
    const registry = await registryOf({ HANDLERS: path });
    expect(registry.actions()).toEqual(['email.send', 'http.request', 'resize', 'shrink', 'simulate']);
    expect(await run(registry, 'resize', { width: 4 })).toBe(8);
    expect(await run(registry, 'shrink')).toBe('small');
    expect(await run(registry, 'email.send')).toMatch(/:1$/);
    expect(registry.resolve('default').name).toBe('default');
  });

  it('may be TypeScript, and may be given as a relative path', async () => {
    const path = moduleOf(
      `export const double = (context: { payload: unknown }): number => Number(context.payload) * 2;`,
      'ts',
    );
    const registry = await registryOf({ HANDLERS: relative(process.cwd(), path) });
    expect(await run(registry, 'double', 21)).toBe(42);
  });

  it.each([
    [
      'no functions',
      `export const a = 1; export default () => 1;`,
      /named exports that are functions; given a \(a number\), default \(a function\)/,
    ],
    ['no exports', ``, /given none/],
    ['a built-in name', `export const simulate = () => 1;`, /export simulate: the action "simulate" is built in/],
    [
      'a built-in action that is switched off',
      `export const actions = { 'kubernetes.job': () => 1 };`,
      /"kubernetes\.job" is built in/,
    ],
    ['a built-in action', `export const actions = { 'http.request': () => 1 };`, /"http\.request" is built in/],
    [
      'actions of another kind',
      `export const actions = [() => 1];`,
      /export actions: expected an object of functions by action name; given an array/,
    ],
    [
      'an action that is not a function',
      `export const actions = { 'a.b': 'x' };`,
      /expected a function for "a\.b"; given a string/,
    ],
    [
      'one action twice',
      `export const a = () => 1; export const actions = { a: () => 2 };`,
      /"a" has a handler already/,
    ],
    ['an action without a name', `export const actions = { '': () => 1 };`, /1 to 128 characters; given 0/],
    [
      'an action that no task could name',
      `export const actions = { '${'a'.repeat(129)}': () => 1 };`,
      /1 to 128 characters; given 129/,
    ],
    ['an error of its own', `throw new Error('no database')`, /importing it failed: no database/],
    ['a mistake in its syntax', `export const = 1`, /importing it failed: /],
  ])('is refused for %s', async (_, source, message) => {
    const path = moduleOf(source);
    const error = await registryOf({ HANDLERS: path }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(HandlersModuleError);
    expect(String(error)).toContain(`HANDLERS: ${path}: `);
    expect(String(error)).toMatch(message);
  });

  it('is refused if the file does not exist', async () => {
    await expect(registryOf({ HANDLERS: join(directory, 'missing.ts') })).rejects.toThrow('there is no such file');
    await expect(registryOf({ HANDLERS: directory })).rejects.toThrow('this is not a file');
  });
});

it('refuses a module whose top-level code never ends', async () => {
  const path = moduleOf('await new Promise(() => {}); export const never = () => {};');
  await expect(loadTeamHandlers(path, new Set(), 50)).rejects.toThrow(
    /HANDLERS: .*has not ended after 0\.05 s \(an `await`/,
  );
});
