import { copyFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  podNamed,
  servePods,
  startKubernetesApi,
  status,
  type TestKubernetesApi,
} from '../../test/harness/kubernetes-api.ts';
import { createKubernetesClient } from './client.ts';
import { createOwnPod, type OwnPod } from './own-pod.ts';

let api: TestKubernetesApi;
let ownPod: OwnPod;
const never = new AbortController().signal;

beforeEach(async () => {
  api = await startKubernetesApi(servePods(new Map([['worker-1', podNamed('worker-1', 'uid')]])));
  const client = createKubernetesClient({
    server: `https://127.0.0.1:${api.port}`,
    caFile: `${api.serviceAccount}/ca.crt`,
    tokenFile: `${api.serviceAccount}/token`,
    namespace: 'tasks',
  });
  await client.load();
  ownPod = createOwnPod(client, { name: 'worker-1', namespace: 'tasks' });
});

afterEach(async () => {
  await ownPod.close();
  await api.close();
});

it('merges the annotation, as text, into those of the pod', async () => {
  await ownPod.setDeletionCost(7, never);
  expect(api.requests).toMatchObject([
    {
      method: 'PATCH',
      path: '/api/v1/namespaces/tasks/pods/worker-1',
      headers: { 'content-type': 'application/merge-patch+json' },
      body: { metadata: { annotations: { 'controller.kubernetes.io/pod-deletion-cost': '7' } } },
    },
  ]);
});

it('repeats the message of the API when it refuses', async () => {
  api.handle = () => status(403, 'Forbidden', 'pods', 'worker-1');
  await expect(ownPod.setDeletionCost(7, never)).rejects.toMatchObject({
    name: 'KubernetesApiError',
    status: 403,
    message: 'the Kubernetes API answered 403 Forbidden: pods "worker-1": Forbidden',
  });
});

it('ends with its signal when the API does not answer', async () => {
  api.handle = () => null;
  await expect(ownPod.setDeletionCost(7, AbortSignal.timeout(100))).rejects.toMatchObject({ status: null });
});

it('works as soon as the service account can be read, and can be closed before that', async () => {
  const caFile = `${api.serviceAccount}/later.crt`;
  const client = createKubernetesClient({
    server: `https://127.0.0.1:${api.port}`,
    caFile,
    tokenFile: `${api.serviceAccount}/token`,
    namespace: 'tasks',
  });
  const late = createOwnPod(client, { name: 'worker-1', namespace: 'tasks' });
  await expect(late.setDeletionCost(1, never)).rejects.toThrow('ENOENT');
  await late.close();
  copyFileSync(`${api.serviceAccount}/ca.crt`, caFile);
  await late.setDeletionCost(1, never);
  await late.close();
});
