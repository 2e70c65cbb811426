import { httpRequestPayload, type HTTP_METHODS, type SecretReference } from '../../actions/http-request-payload.ts';
import { parsePayload } from '../payload.ts';

/** A request that is ready to be sent. */
export interface HttpRequest {
  readonly url: URL;
  readonly method: (typeof HTTP_METHODS)[number];
  /** Header names in the spelling of the payload, with the values to send, or the secrets that hold them. */
  readonly headers: Readonly<Record<string, string | SecretReference>>;
  readonly body: string | null;
  /** Milliseconds for connection, headers and body together. Null means that only the task's limit applies. */
  readonly timeoutMs: number | null;
}

/**
 * Reads the payload of `http.request`.
 * @throws FinalError `invalid_payload`, which names every wrong path
 */
export function readHttpPayload(payload: unknown): HttpRequest {
  const given = parsePayload(httpRequestPayload, payload);
  const target = new URL(given.url);
  const has = (name: string): boolean => Object.keys(given.headers ?? {}).some((key) => key.toLowerCase() === name);

  const implied: Record<string, string> = {};
  if (given.body !== undefined && typeof given.body !== 'string' && !has('content-type'))
    implied['content-type'] = 'application/json';
  // Some targets refuse requests without a user agent.
  if (!has('user-agent')) implied['user-agent'] = 'distributed-task-scheduler';
  if ((target.username !== '' || target.password !== '') && !has('authorization'))
    implied['authorization'] = basicAuthorization(target);
  // Remove the credentials, so that they cannot be logged with the URL.
  target.username = '';
  target.password = '';
  return {
    url: target,
    method: given.method ?? (given.body === undefined ? 'GET' : 'POST'),
    headers: { ...given.headers, ...implied },
    body: given.body === undefined ? null : typeof given.body === 'string' ? given.body : JSON.stringify(given.body),
    timeoutMs: given.timeout === undefined ? null : Math.ceil(given.timeout * 1_000),
  };
}

function basicAuthorization({ username, password }: URL): string {
  return `Basic ${Buffer.from(`${percentDecoded(username)}:${percentDecoded(password)}`).toString('base64')}`;
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
