import { writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startProcess } from '../test/harness/processes.ts';
import { createTestStores } from '../test/harness/stores.ts';

it('a process that is still starting handles a signal itself and ends', async () => {
  const { env } = await createTestStores();
  const handlers = join(await mkdtemp(join(tmpdir(), 'handlers-')), 'slow.ts');
  writeFileSync(
    handlers,
    `console.log('{"msg":"loading"}'); await new Promise((done) => setTimeout(done, 60_000)); export const a = () => {};`,
  );
  const worker = startProcess(['node', 'src/main.ts', 'worker'], { ...env, HANDLERS: handlers });
  await worker.waitForLine(({ msg }) => msg === 'loading');
  worker.signal('SIGTERM');
  expect(await worker.waitForExit()).toEqual({ code: 143, signal: null });
});
