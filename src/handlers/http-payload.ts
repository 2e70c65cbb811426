import { z } from 'zod';
import { parsePayload } from './payload.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** Set by the connection (RFC 9110, 7.6.1) or by the scheduler: a payload that sets them too would contradict it. */
const RESERVED_HEADERS = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'traceparent',
  'transfer-encoding',
  'upgrade',
  'x-task-attempt-token',
  'x-trace-id',
]);

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const url = z
  .string()
  .max(8_192)
  .refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: 'expected an absolute http or https URL',
  });

const headers = z.record(z.string(), z.string()).superRefine((given, context) => {
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    const problem = RESERVED_HEADERS.has(lower)
      ? 'is set by the scheduler or the connection and cannot be given'
      : seen.has(lower)
        ? 'is given twice'
        : !HEADER_NAME.test(name)
          ? 'expected the name of a header'
          : !HEADER_VALUE.test(value)
            ? 'expected a value without line breaks and other control characters, of Latin-1'
            : null;
    if (problem !== null) context.addIssue({ code: 'custom', path: [name], message: problem });
    seen.add(lower);
  }
});

export const httpPayloadSchema = z
  .strictObject({
    action: z.string().optional().describe('names this handler; read when the task is submitted'),
    url: url.describe('http or https; user and password in it are sent as basic authorization'),
    method: z.enum(METHODS).optional().describe('POST if there is a body, else GET'),
    headers: headers.optional(),
    body: z.json().optional().describe('a string is sent as it is, anything else as JSON'),
    timeout: z.number().positive().max(86_400).optional().describe('seconds for connect, headers and body together'),
  })
  .superRefine(({ method, body }, context) => {
    if (body !== undefined && (method === 'GET' || method === 'HEAD')) {
      context.addIssue({ code: 'custom', path: ['body'], message: `a ${method} request has none` });
    }
  });

/** A request that is ready to be sent. */
export interface HttpRequest {
  readonly url: URL;
  readonly method: (typeof METHODS)[number];
  /** Names in the spelling of the payload, values as sent. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** For connection, headers and body together; null leaves it to the limit of the task. */
  readonly timeoutMs: number | null;
}

/**
 * Reads the payload of `http.request`.
 * @throws FinalError `invalid_payload` naming every wrong path
 */
export function readHttpPayload(payload: unknown): HttpRequest {
  const given = parsePayload(httpPayloadSchema, payload);
  const target = new URL(given.url);
  const has = (name: string): boolean => Object.keys(given.headers ?? {}).some((key) => key.toLowerCase() === name);

  const implied: Record<string, string> = {};
  if (given.body !== undefined && typeof given.body !== 'string' && !has('content-type'))
    implied['content-type'] = 'application/json';
  // Some targets refuse requests without one.
  if (!has('user-agent')) implied['user-agent'] = 'distributed-task-scheduler';
  if ((target.username !== '' || target.password !== '') && !has('authorization'))
    implied['authorization'] = basicAuthorization(target);
  // From here on, nobody can print the credentials with the URL.
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
