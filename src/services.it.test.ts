import { describe, expect, it } from 'vitest';
import { createTestStores } from '../test/harness/stores.ts';
import { createApiProcess } from './api/api-process.ts';
import { readConfig } from './config/read-config.ts';
import type { Service } from './lifecycle/service.ts';
import { createReclaimerProcess } from './reclaimer/reclaimer-process.ts';
import { createStandIn } from './reclaimer/stand-in.ts';
import { createLogger } from './telemetry/logger.ts';
import { createWorkerProcess } from './worker/worker.ts';

const log = createLogger('silent', {});
const { env } = await createTestStores();
const config = readConfig({ ...env, PORT: '0', METRICS_PORT: '0' });

const PROCESSES: readonly (readonly [string, () => Promise<readonly Service[]>])[] = [
  [
    'api',
    async () => {
      const api = await createApiProcess(config, log);
      return api.services.toSpliced(-1, 0, createStandIn(config, { ...api, role: 'api' }));
    },
  ],
  [
    'worker',
    async () => {
      const worker = await createWorkerProcess(config, log);
      return [...worker.services, createStandIn(config, { ...worker, role: 'worker', holder: worker.workerId })];
    },
  ],
  ['reclaimer', async () => (await createReclaimerProcess(config, log, { loop: true })).services],
];

/** Checks the contract of `Service` for every service of every process. */
describe.each(PROCESSES)('the services of %s', (_name, create) => {
  it.each([false, true])('can be stopped more than once; started before: %s', async (started) => {
    const services = await create();
    if (started) for (const service of services) await service.start();
    for (const service of services.toReversed()) {
      await expect(service.stop(), service.name).resolves.toBeUndefined();
      await expect(service.stop(), `${service.name}, again`).resolves.toBeUndefined();
    }
  });
});
