import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { PROBLEMS } from '../problem.ts';
import { defineRoute } from '../route.ts';
import { openApiDocument, problemsOf } from './openapi.ts';

const route = defineRoute({
  method: 'post',
  path: '/things/{id}/turn',
  summary: 'Turn',
  scope: 'read',
  params: z.object({ id: z.string() }),
  query: z.object({ by: z.coerce.number().optional() }),
  headers: z.object({ 'x-key': z.string().optional() }),
  body: z.strictObject({ payload: z.unknown(), speed: z.number().default(1) }).meta({ id: 'Turn' }),
  bodyExample: { payload: 1 },
  responses: {
    200: {
      description: 'Turned',
      schema: z.object({ speed: z.number().default(1) }),
      example: { speed: 1 },
      headers: { 'X-More': 'more' },
      links: { Turn: { operationId: 'postThingsIdTurn', parameters: { id: '$response.body#/id' } } },
    },
  },
  problems: ['task_not_found'],
  handler: async () => ({ body: {} }),
});

describe('openApiDocument', () => {
  const document = openApiDocument([route, { ...route, path: '/page', internal: true }], '1.2.3') as any;
  const operation = document.paths['/things/{id}/turn'].post;

  it('describes the parameters and the body of a route', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(operation.parameters.map((parameter: any) => `${parameter.in} ${parameter.name}`)).toEqual([
      'path id',
      'query by',
      'header x-key',
    ]);
    expect(operation.requestBody).toMatchObject({
      required: true,
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Turn' }, example: { payload: 1 } } },
    });
    expect(document.components.schemas.Turn).toMatchObject({ required: ['payload'], additionalProperties: false });
    expect(operation.tags).toEqual(['things']);
    expect(operation.operationId).toBe('postThingsIdTurn');
  });

  it('describes answers and problems', () => {
    expect(Object.keys(operation.responses)).toEqual([
      '200',
      '400',
      '401',
      '403',
      '404',
      '413',
      '415',
      '422',
      '429',
      '500',
      '503',
    ]);
    expect(operation.responses['200']).toMatchObject({
      headers: { 'X-More': { description: 'more' } },
      links: { Turn: { operationId: 'postThingsIdTurn', parameters: { id: '$response.body#/id' } } },
      content: { 'application/json': { example: { speed: 1 } } },
    });
    expect(operation.responses['404']).toMatchObject({
      description: 'Not Found: `task_not_found`',
      content: {
        'application/problem+json': {
          schema: { $ref: '#/components/schemas/Problem' },
          example: { code: 'task_not_found' },
        },
      },
    });
  });

  it('declares Retry-After for the statuses 429 and 503', () => {
    const limited = openApiDocument([{ ...route, problems: ['rate_limited'] }], '1.2.3') as any;
    const { responses } = limited.paths['/things/{id}/turn'].post;
    const statuses = Object.keys(responses).filter(
      (status) => responses[status].headers?.['Retry-After'] !== undefined,
    );
    expect(statuses).toEqual(['429', '503']);
  });

  it('says who may use an operation, and how a refusal looks', () => {
    expect(operation.security).toEqual([{ client: ['read'] }, { session: ['read'] }]);
    expect(operation.description).toContain('Needs the scope `read`');
    expect(document.components.securitySchemes).toMatchObject({
      client: { type: 'http', scheme: 'bearer' },
      session: { type: 'apiKey', in: 'cookie', name: '__Host-scheduler-session' },
    });
    expect(operation.responses['401']).toMatchObject({
      description: 'Unauthorized: `unauthenticated`, `secret_expired`, `session_ended`',
      headers: { 'WWW-Authenticate': {} },
    });
    expect(operation.responses['403'].description).toBe('Forbidden: `missing_scope`');
  });

  it('has no refusals of keys where none is needed, and none of scopes where every client may go', () => {
    const routes = [
      { ...route, scope: 'public' as const },
      { ...route, path: '/own', params: z.object({}), scope: 'any' as const },
    ];
    const { paths } = openApiDocument(routes, '1.2.3') as any;
    const [open, own] = [paths['/things/{id}/turn'].post, paths['/own'].post];
    expect([open.security, own.security]).toEqual([[], [{ client: [] }, { session: [] }]]);
    const refusals = (one: any) =>
      Object.keys(one.responses).filter((status) => ['401', '403', '429'].includes(status));
    expect([refusals(open), refusals(own)]).toEqual([[], ['401', '429']]);
  });

  it('describes the payloads of the built-in actions, with every member', () => {
    const { HttpRequestPayload, KubernetesJobPayload, SimulatePayload } = document.components.schemas;
    expect(HttpRequestPayload).toMatchObject({
      description: expect.stringContaining('`http.request`'),
      required: ['url'],
      additionalProperties: false,
    });
    for (const { properties } of [HttpRequestPayload, KubernetesJobPayload, SimulatePayload]) {
      for (const [name, member] of Object.entries<any>(properties)) expect(member.description, name).toBeTruthy();
    }
  });

  it('leaves pages out', () => {
    expect(document.paths['/page']).toBeUndefined();
  });

  it('lists problems of bodies only for routes with a body', () => {
    const { body: _body, ...bare } = route;
    expect(problemsOf(bare)).not.toContain('malformed_json');
  });
});

describe('docs/errors.md', () => {
  it('explains every code', async () => {
    const rows = Object.entries(PROBLEMS).map(
      ([code, { status, title, meaning }]) => `| <a id="${code}"></a>\`${code}\` | ${status} | ${title}. ${meaning} |`,
    );
    const text = `# Problem codes

The API answers errors as \`application/problem+json\` (RFC 9457). Clients should branch on \`code\`, which is stable.
\`type\` points to this table in a running system (\`/docs/errors\`), and \`trace_id\` is in the matching lines of the log.
\`errors\`, if present, names the wrong fields: \`path\` is a JSON pointer into the body, or \`query:<name>\`,
\`path:<name>\` or \`header:<name>\`.

| code | status | meaning |
|---|---|---|
${rows.join('\n')}

The table is made from \`src/http/problem.ts\`; \`npx vitest run src/http/openapi/openapi.test.ts -u\` writes it again.
`;
    await expect(text).toMatchFileSnapshot('../../../docs/errors.md');
  });
});
