import { withConnection } from '../scripts/stores/postgres.ts';
import { createApiProcess, type ApiProcess } from '../src/api/api-process.ts';
import { readConfig } from '../src/config/read-config.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { atEndOfFile } from './harness/end-of-file.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any;
}

/** An API that runs inside this process, on its own port. */
export interface RunningApi {
  readonly url: string;
  readonly process: ApiProcess;
  request(path: string, init?: RequestInit): Promise<Reply>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Reply>;
  /** Sends a body as it is, which may be invalid JSON. */
  send(path: string, body: string | Uint8Array, headers?: Record<string, string>): Promise<Reply>;
  rows<Row>(text: string, values?: unknown[]): Promise<Row[]>;
  stop(): Promise<void>;
}

/** Starts all services of the API. They stop at the end of the test file at the latest. */
export async function startApi(env: Record<string, string>): Promise<RunningApi> {
  const config = readConfig({ RATE_LIMIT_PER_MINUTE: '0', ...env });
  const process = await createApiProcess(config, createLogger('silent', {}));
  const started: ApiProcess['services'][number][] = [];
  const stop = async (): Promise<void> => {
    for (const service of started.splice(0).toReversed()) await service.stop();
  };
  atEndOfFile(stop);
  for (const service of process.services) {
    started.push(service);
    await service.start();
  }
  const url = `http://127.0.0.1:${process.address()?.port}`;

  const request = async (path: string, init: RequestInit = {}): Promise<Reply> => {
    const response = await fetch(url + path, { ...init, signal: AbortSignal.timeout(30_000) });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  };
  const send: RunningApi['send'] = (path, body, headers = {}) =>
    request(path, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });

  return {
    url,
    process,
    request,
    send,
    post: (path, body, headers) => send(path, JSON.stringify(body), headers),
    rows: (text, values = []) =>
      withConnection(config.DATABASE_URL, async (client) => (await client.query(text, values)).rows as never),
    stop,
  };
}
