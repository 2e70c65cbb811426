import { beforeAll, describe, expect, it } from 'vitest';
import { createTestStores } from '../../../test/harness/stores.ts';
import { startApi } from '../../../test/running-api.ts';

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: object }[];
  readonly responses: Record<string, { readonly links?: Record<string, Link> }>;
}

interface Link {
  readonly operationId: string;
  readonly parameters: Record<string, string>;
}

let document: { readonly paths: Record<string, Record<string, Operation>> };

beforeAll(async () => {
  const { env } = await createTestStores();
  document = (await (await startApi(env)).request('/openapi.json')).body;
}, 30_000);

const operations = (): Operation[] => Object.values(document.paths).flatMap((path) => Object.values(path));

describe('the OpenAPI document', () => {
  it('has only patterns that every common engine supports: no Unicode classes, no surrogates', () => {
    const patterns = [...JSON.stringify(document).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)].map(
      ([, text]) => JSON.parse(text as string) as string,
    );
    expect(patterns.length).toBeGreaterThan(5);
    expect(patterns.filter((pattern) => /\\p\{|\\u\{?d[89a-f]/i.test(pattern))).toEqual([]);
  });

  it('describes the format of a task id', () => {
    // Secrets of clients and sessions have ids of other kinds.
    const ofTasks = operations().filter(({ operationId }) => !/Clients|Sessions/.test(operationId));
    const ids = ofTasks.flatMap(({ parameters = [] }) =>
      parameters.filter((parameter) => parameter.in === 'path' && parameter.name === 'id'),
    );
    expect(ids.length).toBeGreaterThan(4);
    for (const { schema } of ids) expect(schema).toMatchObject({ pattern: expect.stringContaining('-7[0-9a-f]{3}-') });
  });

  it('links answers only to existing operations and parameters', () => {
    const parametersOf = new Map(
      operations().map(({ operationId, parameters = [] }) => [operationId, parameters.map(({ name }) => name)]),
    );
    const links = operations().flatMap(({ responses }) =>
      Object.values(responses).flatMap((response) => Object.values(response.links ?? {})),
    );
    expect(links.length).toBeGreaterThan(4);
    for (const { operationId, parameters } of links) {
      expect(parametersOf.get(operationId), operationId).toEqual(expect.arrayContaining(Object.keys(parameters)));
    }
  });
});
