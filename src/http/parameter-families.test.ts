import { expect, it } from 'vitest';
import { z } from 'zod';
import { openApiDocument } from './openapi/openapi.ts';
import { familiesOf, gatherFamilies, parameterFamily } from './parameter-families.ts';
import { defineRoute } from './route.ts';

const labels = z.record(
  z
    .string()
    .min(1)
    .max(9)
    .regex(/^[a-z.]*$/),
  z.string(),
);
const query = z.strictObject({ label: parameterFamily('label', labels, 'a label'), limit: z.string().optional() });

it('gathers the parameters whose names begin with that of the family and a point', () => {
  expect(familiesOf(query)).toEqual(['label']);
  const given = { 'label.a': '1', limit: '5', 'label.b.c': ['2', '3'], labels: 'x', 'label.': '4' };
  expect(gatherFamilies(given, ['label'])).toEqual({
    label: { a: '1', 'b.c': ['2', '3'], '': '4' },
    limit: '5',
    labels: 'x',
  });
  expect(gatherFamilies({ limit: '5' }, ['label'])).toEqual({ limit: '5' });
});

it('leaves a parameter with the bare name of the family to its schema, which refuses it', () => {
  const gathered = gatherFamilies({ 'label.a': '1', label: 'x' }, ['label']);
  expect(gathered).toEqual({ label: 'x' });
  expect(query.safeParse(gathered).success).toBe(false);
});

it('gathers a name of Object.prototype as its own member', () => {
  const { label } = gatherFamilies({ 'label.__proto__': '1' }, ['label']) as { label: object };
  expect(Object.entries(label)).toEqual([['__proto__', '1']]);
});

it('is described as an object whose members are parameters of their own, with whole names', () => {
  const route = defineRoute({
    method: 'get',
    path: '/things',
    summary: 'List',
    scope: 'read',
    query,
    responses: { 200: { description: 'Things', schema: z.unknown() } },
    handler: async () => ({ body: null }),
  });
  const document = openApiDocument([route], '1') as any;
  expect(document.paths['/things'].get.parameters).toContainEqual({
    in: 'query',
    name: 'label',
    description: 'a label',
    style: 'form',
    explode: true,
    example: {},
    schema: {
      type: 'object',
      description: 'a label',
      propertyNames: { type: 'string', minLength: 7, maxLength: 15, pattern: String.raw`^label\.[a-z.]*$` },
      additionalProperties: { type: 'string' },
    },
  });
});
