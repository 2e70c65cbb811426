import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import {
  createDocument,
  type ZodOpenApiOperationObject,
  type ZodOpenApiPathsObject,
  type ZodOpenApiResponsesObject,
} from 'zod-openapi';
import { BUILT_IN_PAYLOADS } from '../../actions/built-in.ts';
import { SCOPE_MEANINGS, type Scope } from '../../core/access/scopes.ts';
import { SESSION_COOKIE } from '../access/session-cookie.ts';
import { problemDocument, Problem, PROBLEMS, type ProblemCode } from '../problem.ts';
import type { ResponseSpec, Route } from '../route.ts';

const problemSchema = z
  .object({
    type: z.string().meta({ description: 'address of the explanation of the code' }),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z
      .enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]])
      .meta({ description: 'stable, so clients can branch on it' }),
    trace_id: z.string(),
    errors: z
      .array(
        z.object({
          path: z
            .string()
            .meta({ description: 'a JSON pointer into the body, or `query:<name>`, `path:<name>`, `header:<name>`' }),
          code: z.string(),
          message: z.string(),
          expected: z.string().optional(),
          given: z.string().optional(),
        }),
      )
      .optional(),
  })
  .meta({ id: 'Problem', description: 'A problem answer (RFC 9457)' });

/** Makes the OpenAPI 3.1 document of a table of routes, from the same schemas that validate requests. */
export function openApiDocument(routes: readonly Route[], version: string) {
  const paths: ZodOpenApiPathsObject = {};
  for (const route of routes.filter(({ internal }) => internal !== true)) {
    paths[route.path] = { ...paths[route.path], [route.method]: operationOf(route) };
  }
  return createDocument({
    openapi: '3.1.0',
    info: {
      title: 'Distributed Task Scheduler',
      version,
      description:
        'Durations are numbers of seconds, and times are in ISO 8601. Every answer has the header `X-Trace-ID`. A request ' +
        'may set the trace with `X-Trace-ID` or `traceparent`.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    paths,
    // These schemas are not part of a request's schema, because the action of a task decides which one applies.
    components: {
      securitySchemes: {
        [SECURITY_SCHEME]: {
          type: 'http',
          scheme: 'bearer',
          description:
            'The secret of a client, `sch_…`, or an access token of the provider, if the service accepts them (`OIDC_AUDIENCE`); with such a token, every operation may also answer `no_grant`, `identity_incomplete` or `provider_unavailable`. While the service is open (`AUTH=open`), it is ignored.',
        },
        [SESSION_SCHEME]: {
          type: 'apiKey',
          in: 'cookie',
          name: SESSION_COOKIE,
          description:
            'The session of a person in a browser, which `POST /session` opens. A key in `Authorization` counts instead of it.',
        },
      },
      schemas: Object.fromEntries(Object.values(BUILT_IN_PAYLOADS).map((schema) => [idOf(schema), schema])),
    },
  });
}

function idOf(schema: z.ZodType): string {
  return schema.meta()?.id ?? '';
}

/** The names of the security schemes in the document. */
const SECURITY_SCHEME = 'client';
const SESSION_SCHEME = 'session';

function operationOf(route: Route): ZodOpenApiOperationObject {
  const { method, path, summary, tags, scope, params, query, headers, body, bodyExample } = route;
  return {
    operationId: operationId(method, path),
    summary,
    description: [route.description, ACCESS[scope]].filter((text) => text !== undefined).join('\n\n'),
    // OpenAPI 3.1 lists the needed scopes for every kind of scheme.
    security: scope === 'public' ? [] : securityOf(scope === 'any' ? [] : [scope]),
    tags: [...(tags ?? [path.split('/')[1] as string])],
    requestParams: {
      ...(params instanceof z.ZodObject ? { path: params } : {}),
      ...(query instanceof z.ZodObject ? { query } : {}),
      ...(headers instanceof z.ZodObject ? { header: headers } : {}),
    },
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: !body.safeParse(undefined).success,
            content: { 'application/json': { schema: body, ...exampleOf(bodyExample) } },
          },
        }),
    responses: responsesOf(route),
  };
}

/** A request has either a key or a session. */
function securityOf(scopes: Scope[]): Record<string, Scope[]>[] {
  return [{ [SECURITY_SCHEME]: scopes }, { [SESSION_SCHEME]: scopes }];
}

/** Says in the description of an operation who may use it. */
const ACCESS: Readonly<Record<Route['scope'], string>> = {
  public: 'Needs no key.',
  any: 'Every client may use it.',
  ...(Object.fromEntries(
    Object.entries(SCOPE_MEANINGS).map(([scope, meaning]) => [scope, `Needs the scope \`${scope}\`: ${meaning}.`]),
  ) as Readonly<Record<Scope, string>>),
};

/** Returns an operation id such as `postTasksIdCancel`. */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

function responsesOf(route: Route): ZodOpenApiResponsesObject {
  const declared = Object.entries(route.responses).map(
    ([status, spec]) => [status, responseOf(spec, status !== '204')] as const,
  );
  const problems = Object.entries(Object.groupBy(problemsOf(route), (code) => PROBLEMS[code].status)).map(
    ([status, codes]) => [status, problemResponse(Number(status), codes)] as const,
  );
  // Declared answers replace problems of the same status: the readiness probe declares its own 503.
  return Object.fromEntries([...problems, ...declared]);
}

function responseOf(spec: ResponseSpec, hasBody: boolean) {
  const { description, schema, contentType = 'application/json', example, headers = {}, links } = spec;
  const fields = Object.entries(headers).map(
    ([name, text]) => [name, { description: text, schema: { type: 'string' as const } }] as const,
  );
  return {
    description,
    ...(fields.length === 0 ? {} : { headers: Object.fromEntries(fields) }),
    ...(links === undefined ? {} : { links }),
    ...(hasBody ? { content: { [contentType]: { schema, ...exampleOf(example) } } } : {}),
  };
}

/** Problems of requests that do not say who sends them. */
const UNIDENTIFIED = ['unauthenticated', 'secret_expired', 'session_ended', 'too_many_wrong_keys'] as const;

/** Returns all problems that a route may answer: its own, those of access and validation, and those of the stores. */
export function problemsOf(route: Route): ProblemCode[] {
  const validated = [route.params, route.query, route.headers, route.body].some((schema) => schema !== undefined);
  const codes: ProblemCode[] = [
    ...(route.body === undefined
      ? []
      : (['malformed_json', 'body_required', 'body_incomplete', 'body_too_large', 'unsupported_media_type'] as const)),
    ...(validated ? (['invalid_request'] as const) : []),
    ...(route.scope === 'public' ? [] : UNIDENTIFIED),
    ...(route.scope === 'public' || route.scope === 'any' ? [] : (['missing_scope'] as const)),
    ...(route.problems ?? []),
    'postgresql_unavailable',
    'statement_timed_out',
    'redis_unavailable',
    'internal_error',
  ];
  return [...new Set(codes)];
}

const text = { type: 'string' as const };
const RETRY_AFTER = { 'Retry-After': { description: 'seconds to wait before the request is repeated', schema: text } };
const AUTHENTICATE = { 'WWW-Authenticate': { description: '`Bearer`, and what is wrong (RFC 6750)', schema: text } };

const PROBLEM_HEADERS: Readonly<Record<number, typeof RETRY_AFTER | typeof AUTHENTICATE>> = {
  401: AUTHENTICATE,
  429: RETRY_AFTER,
  503: RETRY_AFTER,
};

function problemResponse(status: number, codes: readonly ProblemCode[]) {
  const [first] = codes as [ProblemCode];
  const example = problemDocument(new Problem(first, PROBLEMS[first].title), '4bf92f3577b34da6a3ce929d0e0e4736');
  const headers = PROBLEM_HEADERS[status];
  return {
    description: `${STATUS_CODES[status] ?? ''}: ${codes.map((code) => `\`${code}\``).join(', ')}`,
    ...(headers === undefined ? {} : { headers }),
    content: { 'application/problem+json': { schema: problemSchema, example } },
  };
}

function exampleOf(example: unknown): { example?: unknown } {
  return example === undefined ? {} : { example };
}
