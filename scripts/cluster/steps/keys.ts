import { type Api, send } from '../api.ts';
import { secretOf } from '../clients.ts';
import { atMost, equal, kubectl, NAMESPACE, readyPods, RELEASE, until } from '../cluster.ts';
import type { Step } from '../step.ts';

const NEW_CLIENT = 'made-by-e2e';
/** Enough new connections to meet every replica. */
const REQUESTS = 12;

export const keys: Step = {
  name: 'keys',
  promise:
    'requests need a key, roles limit what it may do, a client made in a pod works and ends within 5 s, and metrics need no key',
  async body(api) {
    const task = { payload: { keys: true }, execution_time: 0 };
    const statusOf = async (path: string, secret: string, body?: object): Promise<number> =>
      (await send({ ...api, secret }, path, body)).status;
    equal(await statusOf('/tasks', '', task), 401, 'status of a submission without a key');
    equal(await statusOf('/tasks', secretOf('tester'), task), 200, 'status of a submission by a submitter');
    equal(await statusOf('/tasks', secretOf('viewer'), task), 403, 'status of a submission by a viewer');
    equal(await statusOf('/queues', secretOf('viewer')), 200, 'status of the queues for a viewer');
    equal(await statusOf('/metrics', ''), 401, 'status of the metrics without a key, on the port of the Service');
    for (const pod of readyPods('api')) {
      const proxied = `/api/v1/namespaces/${NAMESPACE}/pods/${pod}:9464/proxy/metrics`;
      const text = kubectl('get', '--raw', proxied);
      equal(text.includes('scheduler_auth_failures_total'), true, `metrics of ${pod} on a port of their own`);
    }

    const secret = clients('create', NEW_CLIENT, '--role', 'viewer');
    await until('every replica knows the new client', 5, () => everyStatus(api, secret, 200), 200);
    clients('revoke', NEW_CLIENT);
    const seconds = await until('no replica lets it in', 10, () => everyStatus(api, secret, 401), 200);
    atMost(seconds, 5, 'seconds until no replica lets a revoked client in');
    return `revoked everywhere after ${seconds.toFixed(1)} s`;
  },
};

/** Runs the command in a pod, as the notes of an installation say. @returns what it prints */
function clients(...args: readonly string[]): string {
  return kubectl('exec', `deployment/${RELEASE}-api`, '--', 'node', 'dist/main.js', 'clients', ...args);
}

async function everyStatus(api: Api, secret: string, status: number): Promise<boolean> {
  const asked = Array.from({ length: REQUESTS }, () => send({ ...api, secret }, '/queues'));
  return (await Promise.all(asked)).every((answer) => answer.status === status);
}
