import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startProcess, untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem, type TestSystem } from '../harness/system.ts';

/** Starts a system with a worker that has only two slots. */
async function systemWith(env: Record<string, string>, headers: Record<string, string> = {}): Promise<TestSystem> {
  const system = await startSystem(await createTestStores(), { WORKER_SLOTS: '2', ...env });
  await system.startWorker();
  await untilTrue(async () => {
    const answer = await fetch(`${system.baseUrl}/workers`, { headers });
    return ((await answer.json()) as { items?: unknown[] }).items?.length === 1;
  });
  return system;
}

const verify = (url: string, secret = '') =>
  startProcess(['node', 'scripts/verify.ts', url], { SCHEDULER_SECRET: secret });

it('accepts a system that works as promised, with the key of a client', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'clients-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const secret = 's'.repeat(40);
  mkdirSync(join(directory, 'verifier'));
  writeFileSync(join(directory, 'verifier/secret'), secret);
  writeFileSync(join(directory, 'verifier/role'), 'admin');
  const { baseUrl } = await systemWith(
    // With this limit the bucket refills soon, but not while the test empties it.
    { RATE_LIMIT_PER_MINUTE: '60', AUTH: 'keys', CLIENTS_DIR: directory },
    { authorization: `Bearer ${secret}` },
  );
  for (const [key, sentence] of [
    ['', 'the API asks for a key: set SCHEDULER_SECRET to the secret of a client with the role admin'],
    ['wrong', 'the API does not know the secret in SCHEDULER_SECRET'],
  ] as const) {
    const refused = verify(baseUrl, key);
    expect(await refused.waitForExit()).toEqual({ code: 1, signal: null });
    expect(refused.output).toContain(`\n${sentence}\n`);
  }
  const verifying = verify(`${baseUrl}/`, `${secret}\n`);
  expect(await verifying.waitForExit(55_000), verifying.output).toEqual({ code: 0, signal: null });
  expect(verifying.output).toContain('(High High Low Low Low Low Low)');
  expect(verifying.output.match(/^ {2}ok {3}/gm)).toHaveLength(10);
  expect(verifying.output).toContain('\nall as promised\n');
  expect(verifying.output).not.toContain(secret);
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
