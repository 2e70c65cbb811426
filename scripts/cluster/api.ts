import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { secretOf } from './clients.ts';
import { kubectl, NAMESPACE, RELEASE } from './cluster.ts';

/** The API, reached through its Service. */
export interface Api {
  readonly url: string;
  /** The secret of the client that sends the requests. */
  readonly secret: string;
  /** True if requests go through the Service's address. They then survive the end of a pod. */
  readonly direct: boolean;
  close(): void;
}

/** Opens the API at the Service's address if this machine can reach it, and otherwise through a forwarded port. */
export async function openApi(): Promise<Api> {
  const address = kubectl(
    'get',
    'service',
    `${RELEASE}-api`,
    '--output',
    'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}',
  );
  const direct = `http://${address}`;
  const secret = secretOf('tests');
  if (await answers(direct)) return { url: direct, secret, direct: true, close() {} };

  const port = 18_000;
  const command = ['--namespace', NAMESPACE, 'port-forward', `service/${RELEASE}-api`, `${port}:http`];
  const forward = spawn('kubectl', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(forward.stdout, 'data');
  return { url: `http://127.0.0.1:${port}`, secret, direct: false, close: () => void forward.kill() };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_500) })).ok;
  } catch {
    return false;
  }
}

/** Sends a request: with a body a POST, otherwise a GET. It uses a connection of its own, so that any pod may answer. */
export function send(api: Pick<Api, 'url' | 'secret'>, path: string, body?: object): Promise<Response> {
  const headers = {
    connection: 'close',
    ...(api.secret !== '' && { authorization: `Bearer ${api.secret}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
  };
  const method = { method: 'POST', body: JSON.stringify(body) };
  return fetch(`${api.url}${path}`, { headers, ...(body !== undefined && method) });
}

/** Sends a POST request and returns the answer. @throws Error if the status is not 2xx */
export async function post(api: Api, path: string, body: object): Promise<unknown> {
  const response = await send(api, path, body);
  const text = await response.text();
  if (!response.ok) throw new Error(`POST ${path} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}
