import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findClusterAccess } from './cluster-access.ts';

const directory = mkdtempSync(join(tmpdir(), 'service-account-'));
for (const name of ['ca.crt', 'token']) writeFileSync(join(directory, name), name);

const settings = {
  KUBERNETES_SERVICE_HOST: '10.96.0.1',
  KUBERNETES_SERVICE_PORT: 443,
  KUBERNETES_SERVICE_ACCOUNT: directory,
  POD_NAMESPACE: 'tasks',
};

it('uses what the kubelet gave to the pod', () => {
  expect(findClusterAccess(settings)).toEqual({
    server: 'https://10.96.0.1:443',
    caFile: join(directory, 'ca.crt'),
    tokenFile: join(directory, 'token'),
    namespace: 'tasks',
  });
  expect(findClusterAccess({ ...settings, KUBERNETES_SERVICE_HOST: 'fd00::1' })?.server).toBe('https://[fd00::1]:443');
});

it('is null outside of a cluster, without a token, and if the namespace is not known', () => {
  expect(findClusterAccess({ ...settings, KUBERNETES_SERVICE_HOST: '' })).toBeNull();
  expect(findClusterAccess({ ...settings, KUBERNETES_SERVICE_ACCOUNT: `${directory}/none` })).toBeNull();
  expect(findClusterAccess({ ...settings, POD_NAMESPACE: '' })).toBeNull();
  writeFileSync(join(directory, 'namespace'), 'from-file\n');
  expect(findClusterAccess({ ...settings, POD_NAMESPACE: '' })?.namespace).toBe('from-file');
});
