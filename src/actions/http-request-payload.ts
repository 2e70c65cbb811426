import { z } from 'zod';
import { boundedRecord } from './bounded.ts';

export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** Headers that the connection (RFC 9110, 7.6.1) or the scheduler sets. A payload must not set them as well. */
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
  'webhook-id',
  'webhook-signature',
  'webhook-timestamp',
  'x-task-attempt-token',
  'x-trace-id',
]);

const HEADERS_MAX = 100;

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** The bytes that a header may have. */
export const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const url = z
  .string()
  .max(8_192)
  .refine((text) => /^https?:$/.test(URL.parse(text)?.protocol ?? ''), {
    error: 'expected an absolute http or https URL',
  });

/** Names a mounted secret, whose text is sent instead. */
const secretReference = z.strictObject({
  secret: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'expected the name of a secret'),
  prefix: z.string().max(100).regex(HEADER_VALUE, 'expected Latin-1 without line breaks').optional(),
});
export type SecretReference = z.output<typeof secretReference>;

const headers = boundedRecord(z.union([z.string(), secretReference]), HEADERS_MAX).superRefine((given, context) => {
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    const problem = RESERVED_HEADERS.has(lower)
      ? 'is set by the scheduler or the connection and cannot be given'
      : seen.has(lower)
        ? 'is given twice'
        : !HEADER_NAME.test(name)
          ? 'expected the name of a header'
          : typeof value === 'string' && !HEADER_VALUE.test(value)
            ? 'expected a value in Latin-1 without line breaks and other control characters'
            : null;
    if (problem !== null) context.addIssue({ code: 'custom', path: [name], message: problem });
    seen.add(lower);
  }
});

/** The payload of a task with the action `http.request`. */
export const httpRequestPayload = z
  .strictObject({
    action: z.string().optional().describe('`http.request`, if the task itself has no `action`'),
    url: url.describe(
      'absolute `http` or `https` URL of at most 8,192 characters; a user and password in it are sent as basic authorization, unless `headers` contains `Authorization`',
    ),
    method: z.enum(HTTP_METHODS).optional().describe('by default `POST` with a body, and `GET` without one'),
    headers: headers
      .optional()
      .describe(
        `up to ${HEADERS_MAX} headers with values in Latin-1, or \`{"secret": "NAME", "prefix": "Bearer "}\` for a [mounted secret](#secrets-and-signatures); headers of the connection (such as \`Host\`, \`Content-Length\`), of a signature (\`webhook-…\`), \`X-Task-Attempt-Token\`, \`X-Trace-ID\` and \`traceparent\` cannot be set`,
      ),
    body: z
      .unknown()
      .optional()
      .describe(
        'a text is sent as it is, any other value as JSON, by default with `Content-Type: application/json`; not allowed for `GET` and `HEAD`',
      ),
    timeout: z
      .number()
      .positive()
      .max(7 * 86_400)
      .optional()
      .describe("seconds for connection, headers and body together; by default only the task's `timeout` applies"),
  })
  .superRefine(({ method, body }, context) => {
    if (body !== undefined && (method === 'GET' || method === 'HEAD')) {
      context.addIssue({ code: 'custom', path: ['body'], message: `a ${method} request has no body` });
    }
  })
  .meta({
    id: 'HttpRequestPayload',
    description: 'payload of the action `http.request`, which sends one HTTP request',
  });
