import { expect, it } from 'vitest';
import { startProcess, untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem, type TestSystem } from '../harness/system.ts';

/** Starts a system with a worker that has only two slots. */
async function systemWith(env: Record<string, string>): Promise<TestSystem> {
  const system = await startSystem(await createTestStores(), { WORKER_SLOTS: '2', ...env });
  await system.startWorker();
  await untilTrue(async () => ((await system.get('/workers'))['items'] as unknown[]).length === 1);
  return system;
}

const verify = (url: string) => startProcess(['node', 'scripts/verify.ts', url], {});

it('accepts a system that works as promised', async () => {
  // With this limit the bucket refills soon, but not while the test empties it.
  const { baseUrl } = await systemWith({ RATE_LIMIT_PER_MINUTE: '60' });
  const verifying = verify(`${baseUrl}/`);
  expect(await verifying.waitForExit(55_000), verifying.output).toEqual({ code: 0, signal: null });
  expect(verifying.output).toContain('(High High Low Low Low Low Low)');
  expect(verifying.output.match(/^ {2}ok {3}/gm)).toHaveLength(10);
  expect(verifying.output).toContain('\nall as promised\n');
});

it('ends with 1 and a message if a check fails', async () => {
  const { baseUrl } = await systemWith({ RATE_LIMIT_PER_MINUTE: '0' });
  const verifying = verify(baseUrl);
  expect(await verifying.waitForExit(55_000), verifying.output).toEqual({ code: 1, signal: null });
  expect(verifying.output).toContain('FAIL expected a limit from 1 to 1,000 in RateLimit-Limit, got none');
  expect(verifying.output).toContain('\n1 not as promised\n');
});

it.each([
  ['http://127.0.0.1:9', /\nGET http:\/\/127\.0\.0\.1:9\/readyz has no answer: .+\n$/],
  ['localhost', /\nexpected the URL of a running system, such as http:\/\/localhost:8000; given localhost\n$/],
])('with %s reports in one line that there is nothing to verify', async (url, sentence) => {
  const verifying = verify(url);
  expect(await verifying.waitForExit()).toEqual({ code: 1, signal: null });
  expect(verifying.output).toMatch(sentence);
});
