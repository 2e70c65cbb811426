import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { selfSignedCertificate } from '../self-signed-certificate.ts';

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Returns the answer, or null to let the request hang without one. */
export type ApiHandler = (request: ApiRequest) => ApiAnswer | null;

/** A TLS server that imitates the few endpoints of the Kubernetes API that the scheduler uses. */
export interface TestKubernetesApi {
  readonly port: number;
  /** Directory with the service account files that the kubelet gives to a pod of the namespace `tasks`. */
  readonly serviceAccount: string;
  /** Environment variables that direct a process to this server. */
  readonly env: Record<string, string>;
  readonly requests: ApiRequest[];
  /** The current handler. Tests that want other answers replace it. */
  handle: ApiHandler;
  close(): Promise<void>;
}

const TOKEN = 'a token of the service account';

/** Returns an error response in the format of the Kubernetes API. */
export function status(code: number, reason: string, kind = 'pods', name = 'x'): ApiAnswer {
  const message = `${kind} "${name}": ${reason}`;
  return {
    status: code,
    body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, details: { name, kind }, code },
  };
}

/** Returns a handler that serves the pods of a map by name. */
export function servePods(pods: ReadonlyMap<string, object>): ApiHandler {
  return ({ method, path }) => {
    const name = /^\/api\/v1\/namespaces\/tasks\/pods\/([^/]+)$/.exec(path)?.[1];
    if (name === undefined || (method !== 'GET' && method !== 'PATCH')) return status(403, 'Forbidden');
    const pod = pods.get(name);
    return pod === undefined ? status(404, 'NotFound', 'pods', name) : { status: 200, body: pod };
  };
}

/** Returns a pod in the format of the Kubernetes API. */
export function podNamed(name: string, uid: string, containerStatuses: readonly object[] = []): object {
  return { kind: 'Pod', apiVersion: 'v1', metadata: { name, namespace: 'tasks', uid }, status: { containerStatuses } };
}

export async function startKubernetesApi(handle: ApiHandler): Promise<TestKubernetesApi> {
  const serviceAccount = mkdtempSync(join(tmpdir(), 'scheduler-tests-service-account-'));
  const { key, cert } = selfSignedCertificate();
  writeFileSync(join(serviceAccount, 'ca.crt'), cert);
  writeFileSync(join(serviceAccount, 'token'), `${TOKEN}\n`);
  writeFileSync(join(serviceAccount, 'namespace'), 'tasks');

  const requests: ApiRequest[] = [];
  const server = createServer({ key, cert }, (request, response) => void answer(api, request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const api: TestKubernetesApi = {
    port,
    serviceAccount,
    env: {
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(port),
      KUBERNETES_SERVICE_ACCOUNT: serviceAccount,
    },
    requests,
    handle,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(serviceAccount, { recursive: true });
    },
  };
  return api;
}

async function answer(api: TestKubernetesApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await text(request);
  const { pathname, searchParams } = new URL(request.url ?? '/', 'https://localhost');
  const seen: ApiRequest = {
    method: request.method ?? '',
    path: pathname,
    query: searchParams,
    headers: request.headers,
    body: body === '' ? undefined : JSON.parse(body),
  };
  api.requests.push(seen);
  const given = request.headers.authorization === `Bearer ${TOKEN}` ? api.handle(seen) : status(401, 'Unauthorized');
  if (given === null) return;
  const isText = typeof given.body === 'string';
  response.writeHead(given.status, { 'content-type': isText ? 'text/plain' : 'application/json' });
  response.end(isText ? given.body : JSON.stringify(given.body));
}
